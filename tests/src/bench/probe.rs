//! Answered probes a second and the processor time that one costs, of pingu's own transport, `ping -f` and `fping` on the same veth pair.
//! All of them, and the answering kernel, run on one core; what softirq does on their behalf is charged to them.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use pingu::{
    config::ReceiveHook,
    probe::{
        EngineKind, LinkHeader, ProbeOrder, ProbeTransport, SendResult, kernel::KernelTransport,
    },
    units::{Ifindex, SlotId},
};
use serde::Serialize;

use super::{bare_loop, cpu, namespace::Namespace, peers, report::median};

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Addresses that answer
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub targets: u32,
    /// Probes in flight at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub window: u32,
    /// Probes of pingu and of ping in a run
    #[arg(long, default_value_t = 200_000)]
    pub probes: u32,
    /// Runs of each, in turns; the medians count
    #[arg(long, default_value_t = 7)]
    pub runs: usize,
    /// The core that everything runs on
    #[arg(long, default_value_t = 1)]
    pub core: usize,
    /// Where pingu matches replies
    #[arg(long, default_value = "tcx", value_parser = receive_hook)]
    pub receive: ReceiveHook,
    /// Measure pingu alone
    #[arg(long)]
    pub alone: bool,
}

/// Reads the name of a receive hook.
pub(super) fn receive_hook(text: &str) -> Result<ReceiveHook, String> {
    match text {
        "tcx" => Ok(ReceiveHook::Tcx),
        "clsact" => Ok(ReceiveHook::Clsact),
        "xdp" => Ok(ReceiveHook::Xdp),
        _ => Err("one of tcx, clsact, xdp".to_owned()),
    }
}

/// One prober's medians.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Who.
    pub prober: &'static str,
    /// Echo replies that counted, over the time that it took.
    pub answered_per_second: f64,
    /// Processor time of tasks and softirq over probes sent.
    pub cpu_ns_per_probe: f64,
    /// Probes without an answer, over all runs.
    pub lost: u64,
    /// pingu's rate over this one's.
    pub rate_ratio: f64,
    /// pingu's processor time for a probe over this one's.
    pub cpu_ratio: f64,
}

/// All probers.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// pingu first.
    pub rows: Vec<Row>,
    /// Runs of each.
    pub runs: usize,
    /// The hooks that served pingu.
    pub engine: EngineKind,
    /// The core that everything ran on.
    pub core: usize,
}

/// One run of one prober.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub sent: u64,
    pub answered: u64,
    pub elapsed: Duration,
    pub cpu: Duration,
}

/// 10.78.0.0/16 answers, and nothing else is reachable.
pub(super) const TARGETS: u32 = u32::from_be_bytes([10, 78, 0, 0]);
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));
/// More targets than this answer through one address with a /16 prefix instead of one each.
const ADDRESSES_MAX: u32 = 4_096;
/// Unanswered for so long, a probe is lost.
pub(super) const TIMEOUT: Duration = Duration::from_secs(1);

/// Measures, in namespaces that vanish with the process.
pub fn run(options: &Options) -> Result<Report> {
    let sender = Namespace::new()?;
    let peer = Namespace::new()?;
    sender.veth("uplink0", &peer, "peer0")?;
    sender.ip("address add 10.77.0.1/30 dev uplink0")?;
    peer.ip("address add 10.77.0.2/30 dev peer0")?;
    let fping_targets = options
        .targets
        .clamp(peers::FPING_TARGETS_MIN, peers::FPING_TARGETS_MAX);
    add_targets(&peer, options.targets.max(fping_targets))?;
    sender.ip("route add 10.78.0.0/16 via 10.77.0.2")?;
    let link = LinkHeader::Ethernet {
        source: sender.mac("uplink0")?,
        destination: peer.mac("peer0")?,
    };
    let template = ProbeOrder {
        slot: SlotId(0),
        ifindex: Ifindex(sender.ifindex("uplink0")?),
        link,
        source: SOURCE,
        target: SOURCE,
        ident: 0x7069,
        sequence: 0,
        payload_bytes: 56,
        reflect: None,
    };
    // Both ends learn each other's address before anything is timed.
    sender.command("ping -q -c 1 -W 5 10.78.0.0")?;

    let core = options.core;
    sender.run(move || cpu::pin(core))?;
    let mut probers = vec![("pingu", Vec::new())];
    if !options.alone {
        probers.extend(
            ["bare loop", "ping -f", "ping -f -q", "fping", "fping -q"]
                .map(|prober| (prober, Vec::new())),
        );
    }
    let mut engine = EngineKind::Socket;
    for _ in 0..options.runs {
        let (kind, run) = {
            let options = options.clone();
            sender.run(move || flood(&options, template))?
        };
        engine = kind;
        probers[0].1.push(run);
        for (prober, runs) in &mut probers[1..] {
            let command: &str = prober;
            let (count, targets) = (options.probes, fping_targets);
            let (orders, receive) = (
                bare_loop::orders(options.window, options.targets, TARGETS, &template),
                options.receive,
            );
            runs.push(sender.run(move || match command {
                "bare loop" => bare_loop::flood(&orders, count, receive),
                "ping -f" => peers::ping(count, &[]),
                "ping -f -q" => peers::ping(count, &["-q"]),
                "fping" => peers::fping(targets, &[]),
                _ => peers::fping(targets, &["-q"]),
            })?);
        }
    }
    Ok(Report {
        rows: rows(&probers),
        runs: options.runs,
        engine,
        core,
    })
}

/// Addresses of the peer's own, as hosts have them. A `local` route for all of them would be shorter, but it makes the kernel check every
/// packet's source against the routes (`fib_has_custom_local_routes`), whoever sent it.
fn add_targets(peer: &Namespace, targets: u32) -> Result<()> {
    let mut batch = tempfile::NamedTempFile::new()?;
    for target in 0..targets.min(ADDRESSES_MAX) {
        writeln!(
            batch,
            "address add {}/32 dev lo",
            Ipv4Addr::from(TARGETS + target)
        )?;
    }
    if targets > ADDRESSES_MAX {
        writeln!(batch, "address add 10.78.255.255/16 dev lo")?;
    }
    peer.ip(&format!("-batch {}", batch.path().display()))?;
    Ok(())
}

fn rows(probers: &[(&'static str, Vec<Run>)]) -> Vec<Row> {
    let mut rows: Vec<Row> = probers
        .iter()
        .map(|(prober, runs)| Row {
            prober,
            answered_per_second: median(
                runs.iter()
                    .map(|run| run.answered as f64 / run.elapsed.as_secs_f64()),
            ),
            cpu_ns_per_probe: median(
                runs.iter()
                    .map(|run| run.cpu.as_nanos() as f64 / run.sent as f64),
            ),
            lost: runs.iter().map(|run| run.sent - run.answered).sum(),
            rate_ratio: 1.0,
            cpu_ratio: 1.0,
        })
        .collect();
    let (rate, cpu) = (rows[0].answered_per_second, rows[0].cpu_ns_per_probe);
    for row in &mut rows {
        row.rate_ratio = rate / row.answered_per_second;
        row.cpu_ratio = cpu / row.cpu_ns_per_probe;
    }
    rows
}

/// Sends as fast as it can with a bounded number of probes in flight, as the daemon would: whole bursts, then a look at the slots.
fn flood(options: &Options, template: ProbeOrder) -> Result<(EngineKind, Run)> {
    let mut transport = KernelTransport::load(options.window, options.receive)?;
    let engine = transport.attach(template.ifindex, false)?;
    let mut flood = Flood::new(options, template);
    let softirq_before = cpu::softirq_threads_time()?;
    let cpu_before = cpu::thread_time();
    let begin = Instant::now();
    flood.run(&mut transport)?;
    let elapsed = begin.elapsed();
    let cpu = cpu::thread_time() - cpu_before + (cpu::softirq_threads_time()? - softirq_before);
    let run = Run {
        sent: flood.sent,
        answered: flood.answered,
        elapsed,
        cpu,
    };
    let counters = transport.counters()?;
    ensure!(
        counters.matched == run.answered,
        "{counters:?} does not agree with {run:?}"
    );
    Ok((engine, run))
}

struct Flood {
    template: ProbeOrder,
    /// What is sent next: one order for each free slot.
    orders: Vec<ProbeOrder>,
    results: Vec<SendResult>,
    free: Vec<SlotId>,
    waiting: Vec<SlotId>,
    targets: u32,
    next_target: u32,
    wanted: u64,
    sent: u64,
    answered: u64,
}

impl Flood {
    fn new(options: &Options, template: ProbeOrder) -> Self {
        Self {
            template,
            orders: Vec::new(),
            results: Vec::new(),
            free: (0..options.window).map(SlotId).collect(),
            waiting: Vec::new(),
            targets: options.targets,
            next_target: 0,
            wanted: u64::from(options.probes),
            sent: 0,
            answered: 0,
        }
    }

    fn run(&mut self, transport: &mut KernelTransport) -> Result<()> {
        let mut last_answer = Instant::now();
        while self.sent < self.wanted || !self.waiting.is_empty() {
            self.send(transport)?;
            let answered = self.answered;
            self.collect(transport);
            if self.answered != answered {
                last_answer = Instant::now();
            } else if last_answer.elapsed() > TIMEOUT {
                return Ok(());
            } else {
                // Softirq work was put off to its own thread, which needs this core.
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    fn send(&mut self, transport: &mut KernelTransport) -> Result<()> {
        let room = (self.wanted - self.sent).min(self.free.len() as u64) as usize;
        self.orders.clear();
        for slot in self.free.drain(self.free.len() - room..) {
            self.template.sequence = self.template.sequence.wrapping_add(1);
            let target = IpAddr::V4(Ipv4Addr::from(TARGETS + self.next_target));
            self.next_target = (self.next_target + 1) % self.targets;
            self.orders.push(ProbeOrder {
                slot,
                target,
                ..self.template
            });
        }
        transport.send(&self.orders, &mut self.results);
        ensure!(
            self.results
                .iter()
                .all(|result| *result == SendResult::Sent),
            "not sent: {:?}",
            self.results
        );
        self.sent += room as u64;
        self.waiting
            .extend(self.orders.iter().map(|order| order.slot));
        Ok(())
    }

    fn collect(&mut self, transport: &KernelTransport) {
        let free_before = self.free.len();
        self.waiting.retain(|slot| {
            let answered = transport.read(*slot).received_ns.is_some();
            if answered {
                self.free.push(*slot);
            }
            !answered
        });
        self.answered += (self.free.len() - free_before) as u64;
    }
}

/// The report as a table.
pub fn table(report: &Report) -> String {
    let mut lines = vec![format!(
        "{:<12} {:>10} {:>13} {:>5}   {:>10} {:>9}",
        "prober", "answered/s", "CPU ns/probe", "lost", "pingu rate", "pingu CPU"
    )];
    for row in &report.rows {
        lines.push(format!(
            "{:<12} {:>10.0} {:>13.0} {:>5}   {:>8.2} x {:>7.2} x",
            row.prober,
            row.answered_per_second,
            row.cpu_ns_per_probe,
            row.lost,
            row.rate_ratio,
            row.cpu_ratio
        ));
    }
    lines.push(format!(
        "medians of {} runs in turns; pingu's engine is {:?}; all on core {}, the answering kernel included",
        report.runs, report.engine, report.core
    ));
    lines.join("\n")
}
