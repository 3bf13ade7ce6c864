//! What pingu's programs add to a forwarded packet that is not pingu's: by test runs beside an empty program, and through a router
//! with the programs on and off in turns.

mod router;

use std::{net::Ipv4Addr, os::fd::AsFd};

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

use self::router::Lab;
use super::{
    bpf::{self, Kind},
    cpu,
    goal::{self, Goal},
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

/// The 70 ns were promised where an empty pair takes 46. How much any program costs differs from processor to processor, by what is
/// done there against speculation; what pingu's do beyond that differs less.
const OF_EMPTY_MAX: f64 = 70.0 / 46.0;

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
    let (empty, added) = (differences(empty), differences(with));
    let share_percent = added.median_ns / forwarded_ns * 100.0;
    Ok(Report {
        empty_ns,
        request_ns,
        reply_ns,
        forged_ns,
        forwarded_ns,
        empty_added: empty,
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
            Goal::at_most(
                "of what an empty pair adds on this machine",
                added.median_ns / empty.median_ns,
                OF_EMPTY_MAX,
                "x",
            ),
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
