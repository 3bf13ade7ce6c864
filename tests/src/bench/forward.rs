//! What pingu's programs add to a forwarded packet that is not pingu's: by test runs beside an empty program, and through a router
//! with the programs on and off in turns.

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use pingu::{
    config::ReceiveHook,
    probe::{
        LinkHeader, ProbeOrder,
        kernel::{KernelTransport, LoadOptions},
        packet,
    },
    units::{Ifindex, SlotId},
};
use pingu_common::{PROGRAM_REPLY_ETHERNET, PROGRAM_REQUEST_ETHERNET, Payload};
use serde::Serialize;

use super::{
    bare_loop::{message, packet_socket},
    bpf::{self, Hook, Kind},
    cpu,
    goal::{self, Goal},
    namespace::Namespace,
    probe::receive_hook,
    report::median,
};

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Pairs of runs through the router, one with the programs and one without
    #[arg(long, default_value_t = 31)]
    pub pairs: usize,
    /// Packets in a run
    #[arg(long, default_value_t = 100_000)]
    pub packets: u32,
    /// Repetitions of a program in a test run
    #[arg(long, default_value_t = 1_000_000)]
    pub repeat: u32,
    /// Test runs of each program; the medians count
    #[arg(long, default_value_t = 9)]
    pub runs: usize,
    /// The core that everything runs on
    #[arg(long, default_value_t = 1)]
    pub core: usize,
    /// By which hooks the programs are attached
    #[arg(long, default_value = "tcx", value_parser = receive_hook)]
    pub receive: ReceiveHook,
}

/// Nanoseconds, all of them medians.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// An empty program, test-run.
    pub empty_ns: f64,
    /// The egress program on a foreign UDP packet, test-run.
    pub request_ns: f64,
    /// The ingress program on it, test-run.
    pub reply_ns: f64,
    /// The ingress program on an echo reply that names a live slot and has another cookie, test-run.
    pub forged_ns: f64,
    /// A packet forwarded by the router without the programs.
    pub forwarded_ns: f64,
    /// What an empty program at TCX ingress and another at TCX egress add.
    pub empty_added: Added,
    /// What pingu's programs add, ingress and egress together, when they count no traffic.
    pub silent_added: Added,
    /// What they add with all that the daemon asks of them: they count traffic and handshakes as well.
    pub added: Added,
    /// The share of a forwarded packet that this is, in percent.
    pub share_percent: f64,
    /// What is promised.
    pub goals: Vec<Goal>,
    /// Pairs of runs.
    pub pairs: usize,
    /// The core that everything ran on.
    pub core: usize,
}

/// What something adds to a packet: the differences between runs with it and runs without it, in turns.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Added {
    /// The middle difference.
    pub median_ns: f64,
    /// A quarter of the differences are below the first, a quarter above the second.
    pub quartiles_ns: [f64; 2],
}

/// What stands at the router's hooks.
#[derive(Clone, Copy, Debug)]
enum Setup {
    Nothing,
    Empty,
    Silent,
    Programs,
}

const SETUPS: [Setup; 4] = [Setup::Nothing, Setup::Empty, Setup::Silent, Setup::Programs];

/// Measures, in namespaces that vanish with the process.
pub fn run(options: &Options) -> Result<Report> {
    let lab = Lab::new()?;
    let core = options.core;
    lab.source.run(move || cpu::pin(core))?;
    let mut times: [Vec<f64>; SETUPS.len()] = Default::default();
    for turn in 0..options.pairs {
        // Whichever comes first takes turns, so that a drift of the machine adds to none.
        for place in 0..SETUPS.len() {
            let place = (place + turn) % SETUPS.len();
            times[place].push(lab.forward(SETUPS[place], options)?);
        }
    }
    let [without, empty, silent, with] = &times;
    let differences = |times: &[f64]| {
        let mut differences: Vec<f64> = times
            .iter()
            .zip(without)
            .map(|(with, without)| with - without)
            .collect();
        differences.sort_by(f64::total_cmp);
        let quarter = differences.len() / 4;
        Added {
            median_ns: median(differences.iter().copied()),
            quartiles_ns: [
                differences[quarter],
                differences[differences.len() - 1 - quarter],
            ],
        }
    };
    let [empty_ns, request_ns, reply_ns, forged_ns] = test_runs(options, &lab)?;
    let forwarded_ns = median(without.iter().copied());
    let added = differences(with);
    let share_percent = added.median_ns / forwarded_ns * 100.0;
    Ok(Report {
        empty_ns,
        request_ns,
        reply_ns,
        forged_ns,
        forwarded_ns,
        empty_added: differences(empty),
        silent_added: differences(silent),
        added,
        share_percent,
        goals: vec![
            Goal::at_most(
                "added to a forwarded packet, both directions",
                added.median_ns,
                70.0,
                "ns",
            ),
            Goal::at_most("share of a forwarded packet", share_percent, 3.7, "%"),
        ],
        pairs: options.pairs,
        core,
    })
}

/// Medians of an empty program, the egress and the ingress program on a UDP packet, and the ingress program on a forged reply.
fn test_runs(options: &Options, lab: &Lab) -> Result<[f64; 4]> {
    let (runs, repeat, foreign) = (options.runs, options.repeat, lab.frame.clone());
    lab.source.run(move || {
        let empty = bpf::load_returning(Kind::Classifier, -1)?;
        let mut transport = KernelTransport::load(LoadOptions::new(64, ReceiveHook::Tcx))?;
        let forged = forged_reply(&mut transport)?;
        let program = |name| -> Result<_> {
            Ok(transport
                .program(name)
                .context("no such program")?
                .fd()?
                .as_fd())
        };
        let (request, reply) = (
            program(PROGRAM_REQUEST_ETHERNET)?,
            program(PROGRAM_REPLY_ETHERNET)?,
        );
        let cases = [
            (empty.as_fd(), &foreign),
            (request, &foreign),
            (reply, &foreign),
            (reply, &forged),
        ];
        let mut times: [Vec<f64>; 4] = Default::default();
        for _ in 0..runs {
            for ((program, packet), times) in cases.iter().zip(&mut times) {
                let (verdict, time) = bpf::test_run(*program, packet, repeat)?;
                ensure!(
                    verdict == u32::MAX,
                    "a foreign packet did not pass: {verdict}"
                );
                times.push(time.as_nanos() as f64);
            }
        }
        let forged_count = transport.counters()?.forged;
        ensure!(
            forged_count == runs as u64 * u64::from(repeat),
            "only {forged_count} packets were judged as forged"
        );
        Ok(times.map(|times| median(times.into_iter())))
    })
}

/// Arms a slot, and makes the reply that it waits for, with another cookie.
fn forged_reply(transport: &mut KernelTransport) -> Result<Vec<u8>> {
    let order = ProbeOrder {
        slot: SlotId(7),
        ifindex: Ifindex(1),
        link: LinkHeader::Ethernet {
            source: [2; 6],
            destination: [4; 6],
        },
        source: Ipv4Addr::new(10, 80, 1, 2).into(),
        target: Ipv4Addr::new(10, 80, 2, 2).into(),
        ident: 1,
        sequence: 1,
        payload_bytes: 56,
        reflect: None,
    };
    transport.arm(&order, [1, 2, 3, 4], 1);
    let mut frame = vec![0; packet::HEADER_BYTES_MAX + usize::from(order.payload_bytes)];
    let length = packet::write(
        &mut frame,
        &order,
        &Payload {
            slot: 7,
            cookie: [1, 2, 3, 5],
        },
    )
    .context("two families in one order")?;
    frame.truncate(length);
    // The ICMP type, behind 14 bytes of Ethernet and 20 of IPv4: what was a request is a reply.
    frame[34] = 0;
    Ok(frame)
}

/// source - router - sink.
struct Lab {
    source: Namespace,
    router: Namespace,
    _sink: Namespace,
    interfaces: [Ifindex; 2],
    frame: Vec<u8>,
    outlet: Ifindex,
}

impl Lab {
    fn new() -> Result<Self> {
        let (source, router, sink) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        source.veth("source0", &router, "in0")?;
        router.veth("out0", &sink, "sink0")?;
        router.ip("address add 10.80.1.1/24 dev in0")?;
        router.ip("address add 10.80.2.1/24 dev out0")?;
        // Not the sink's own address: it drops what it gets before that costs anything.
        router.ip("neighbour add 10.80.2.2 lladdr 02:00:00:00:00:99 dev out0")?;
        router.sysctl("net.ipv4.ip_forward", "1")?;
        let interfaces = [
            Ifindex(router.ifindex("in0")?),
            Ifindex(router.ifindex("out0")?),
        ];
        let frame = udp_frame(source.mac("source0")?, router.mac("in0")?);
        let outlet = Ifindex(source.ifindex("source0")?);
        Ok(Self {
            source,
            router,
            _sink: sink,
            interfaces,
            frame,
            outlet,
        })
    }

    /// Nanoseconds for a packet through the router.
    fn forward(&self, setup: Setup, options: &Options) -> Result<f64> {
        match setup {
            Setup::Nothing => self.flood(options.packets),
            Setup::Empty => self.with(options.packets, empty_pair),
            Setup::Silent | Setup::Programs => {
                let load = LoadOptions::new(64, options.receive);
                let load = match setup {
                    Setup::Programs => load.counting(self.interfaces.len() as u32),
                    Setup::Nothing | Setup::Empty | Setup::Silent => load,
                };
                self.with(options.packets, move |interfaces| {
                    programs(interfaces, load)
                })
            }
        }
    }

    /// Likewise, while what `attach` returns exists.
    fn with<T: Send + 'static>(
        &self,
        packets: u32,
        attach: impl FnOnce([Ifindex; 2]) -> Result<T> + Send + 'static,
    ) -> Result<f64> {
        let interfaces = self.interfaces;
        let attached = self.router.run(move || attach(interfaces))?;
        let time = self.flood(packets);
        self.router.run(move || drop(attached));
        time
    }

    /// Sends the packets through the router; processor time for each.
    fn flood(&self, packets: u32) -> Result<f64> {
        let before = self.forwarded()?;
        let (frame, outlet) = (self.frame.clone(), self.outlet);
        let time = self.source.run(move || flood(&frame, outlet, packets))?;
        let forwarded = self.forwarded()? - before;
        ensure!(
            forwarded >= u64::from(packets),
            "only {forwarded} of {packets} packets were forwarded"
        );
        Ok(time.as_nanos() as f64 / f64::from(packets))
    }

    fn forwarded(&self) -> Result<u64> {
        let text = self.router.ip("-s -j link show dev out0")?;
        let links: serde_json::Value = serde_json::from_str(&text)?;
        links[0]["stats64"]["tx"]["packets"]
            .as_u64()
            .context("no tx count of out0")
    }
}

fn empty_pair([inside, outside]: [Ifindex; 2]) -> Result<[OwnedFd; 2]> {
    let empty = bpf::load_returning(Kind::Classifier, -1)?;
    Ok([
        bpf::attach(empty.as_fd(), inside.0, Hook::TcxIngress)?,
        bpf::attach(empty.as_fd(), outside.0, Hook::TcxEgress)?,
    ])
}

/// The uplink alone has pingu's programs: a packet that comes in by the other interface passes the egress hook, and its answer the
/// ingress hook. To
/// see both with one packet, both interfaces have them.
fn programs(interfaces: [Ifindex; 2], load: LoadOptions) -> Result<KernelTransport> {
    let mut transport = KernelTransport::load(load)?;
    for ifindex in interfaces {
        transport.attach(ifindex, false)?;
    }
    Ok(transport)
}

const BATCH: usize = 64;

fn flood(frame: &[u8], outlet: Ifindex, packets: u32) -> Result<Duration> {
    let socket = packet_socket(outlet, 0)?;
    let mut vector = libc::iovec {
        iov_base: frame.as_ptr().cast_mut().cast(),
        iov_len: frame.len(),
    };
    let mut messages: [_; BATCH] = std::array::from_fn(|_| message(&mut vector));
    let softirq_before = cpu::softirq_threads_time()?;
    let before = cpu::thread_time();
    let mut left = packets as usize;
    while left > 0 {
        let count = left.min(BATCH);
        // SAFETY: the messages point to one vector, and it to the frame; the kernel only reads it.
        let sent =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count as u32, 0) };
        ensure!(sent > 0, "sendmmsg: {}", io::Error::last_os_error());
        left -= sent as usize;
    }
    Ok(cpu::thread_time() - before + (cpu::softirq_threads_time()? - softirq_before))
}

/// 64 bytes of UDP to an address behind the router.
fn udp_frame(source: [u8; 6], router: [u8; 6]) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 50, 0, 1, 0x40, 0, 64, 17, 0, 0];
    ip.extend(Ipv4Addr::new(10, 80, 1, 2).octets());
    ip.extend(Ipv4Addr::new(10, 80, 2, 2).octets());
    let sum: u32 = ip
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    let checksum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    // Ports 4000 and 9, 30 bytes, no checksum.
    ip.extend([0x0f, 0xa0, 0, 9, 0, 30, 0, 0]);
    ip.resize(50, 0);
    [router.as_slice(), &source, &[0x08, 0x00], &ip].concat()
}

/// The report as a table.
pub fn table(report: &Report) -> String {
    let added = |added: Added| {
        let [low, high] = added.quartiles_ns;
        format!(
            "{:>7.0} ns   (quartiles {low:.0} to {high:.0})",
            added.median_ns
        )
    };
    [
        format!(
            "test run of an empty program      {:>7.0} ns",
            report.empty_ns
        ),
        format!(
            "test run, egress, foreign packet  {:>7.0} ns",
            report.request_ns
        ),
        format!(
            "test run, ingress, foreign packet {:>7.0} ns",
            report.reply_ns
        ),
        format!(
            "test run, ingress, forged reply   {:>7.0} ns",
            report.forged_ns
        ),
        format!(
            "forwarded packet without programs {:>7.0} ns",
            report.forwarded_ns
        ),
        format!(
            "an empty TCX pair adds            {}",
            added(report.empty_added)
        ),
        format!(
            "pingu's pair, counting nothing    {}",
            added(report.silent_added)
        ),
        format!("pingu's pair adds                 {}", added(report.added)),
        format!(
            "which is of a forwarded packet    {:>7.2} %",
            report.share_percent
        ),
        format!(
            "medians; {} pairs in turns; all on core {}",
            report.pairs, report.core
        ),
        goal::lines(&report.goals),
    ]
    .join("\n")
}
