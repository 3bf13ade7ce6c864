//! Time from the decision to the last route moved, of pingu's own path and of its peers in turns. Every move is verified by a dump.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tempfile::NamedTempFile;

use super::{
    Options, Row, Samples,
    fixture::{FOREIGN, Fixture, GATEWAYS, INTERFACES, METRIC},
    mover::{Mode, Move, Mover},
    wire::{Verb, Wire, datagrams, prefix},
};

/// The modes of pingu, and whether the kernel tells of each route that a nexthop object moves.
const WAYS: [(Mode, Option<bool>); 4] = [
    (Mode::Metric, None),
    (Mode::Ordered, None),
    (Mode::Balance, Some(true)),
    (Mode::Balance, Some(false)),
];

/// Numbers of the peer's nexthop objects.
const PEER_SINGLES: [u32; 2] = [1, 2];
const PEER_GROUP: u32 = 3;

/// All moves of so many prefixes.
pub(super) fn run(options: &Options, count: u32) -> Result<Vec<Row>> {
    let fixture = Fixture::new()?;
    let core = options.core;
    fixture.router.run(move || crate::bench::cpu::pin(core))?;
    let mut samples = Samples::default();
    for _ in 0..options.runs {
        ip_batch(&fixture, count, &mut samples)?;
        bare_batch(&fixture, count, &mut samples)?;
        for (mode, compatible) in WAYS {
            set_compatible(&fixture, compatible.unwrap_or(true))?;
            pingu(&fixture, mode, compatible, count, &mut samples)?;
            if mode == Mode::Balance {
                ip_nexthop(&fixture, compatible, count, &mut samples)?;
            }
        }
    }
    let reference = samples.median("ip -batch route replace");
    Ok(samples.rows(count, Some(reference)))
}

fn set_compatible(fixture: &Fixture, compatible: bool) -> Result<()> {
    let value = if compatible { "1" } else { "0" };
    fixture.router.sysctl("net.ipv4.nexthop_compat_mode", value)
}

fn with_setting(text: &str, compatible: Option<bool>) -> String {
    match compatible {
        None => text.to_owned(),
        Some(compatible) => format!("{text}, nexthop_compat_mode={}", u8::from(compatible)),
    }
}

/// There and back: the uplink falls silent, and answers again.
fn pingu(
    fixture: &Fixture,
    mode: Mode,
    compatible: Option<bool>,
    count: u32,
    samples: &mut Samples,
) -> Result<()> {
    let silent = (0, fixture.ifindexes[0]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (runtime, mover) = fixture.router.run(move || {
        let mover = runtime.block_on(Mover::start(mode, count));
        (runtime, mover)
    });
    let mover = mover?;
    let step = |runtime: tokio::runtime::Runtime, mut mover: Mover, silent| {
        fixture.router.run(move || {
            let made = runtime.block_on(mover.silence(silent));
            (runtime, mover, made)
        })
    };
    if mode != Mode::Balance {
        fixture.verify(count, 0)?;
    }
    let (runtime, mover, away) = step(runtime, mover, Some(silent));
    note(samples, mode, compatible, "away", away?);
    fixture.verify(count, 1)?;
    let (runtime, mover, back) = step(runtime, mover, None);
    note(samples, mode, compatible, "back", back?);
    if mode != Mode::Balance {
        fixture.verify(count, 0)?;
    }
    fixture.router.run(move || {
        // The socket's task ends with the runtime.
        drop(mover);
        drop(runtime);
    });
    fixture.clear()
}

fn note(samples: &mut Samples, mode: Mode, compatible: Option<bool>, direction: &str, made: Move) {
    let name = with_setting(&format!("pingu {} {direction}", mode.name()), compatible);
    samples.note(&format!("{name}: decision to done"), made.whole);
    samples.note(&format!("{name}: writes"), made.writing);
    samples.count(&format!("{name}: writes"), made.changes);
}

/// `ip -batch` with a `route replace` of each prefix, its start and end included, as nobody can have it without them.
fn ip_batch(fixture: &Fixture, count: u32, samples: &mut Samples) -> Result<()> {
    install(fixture, count)?;
    let mut batch = NamedTempFile::new()?;
    for number in 0..count {
        writeln!(
            batch,
            "route replace {}/32 via {} dev {} metric {METRIC} protocol {FOREIGN}",
            prefix(number),
            GATEWAYS[1],
            INTERFACES[1]
        )?;
    }
    let took = timed_ip(fixture, &format!("-batch {}", batch.path().display()))?;
    samples.note("ip -batch route replace", took);
    samples.count("ip -batch route replace", count as usize);
    fixture.verify(count, 1)?;
    fixture.clear()
}

/// The same replacements in as few sends as pingu has, their bytes ready before: what the kernel itself takes.
fn bare_batch(fixture: &Fixture, count: u32, samples: &mut Samples) -> Result<()> {
    install(fixture, count)?;
    let ready = datagrams(Verb::Replace, &fixture.routes(count, 1));
    let took = fixture.router.run(move || -> Result<Duration> {
        let mut wire = Wire::open()?;
        let begin = Instant::now();
        wire.write(&ready)?;
        Ok(begin.elapsed())
    })?;
    samples.note("bare batch of RTM_NEWROUTE replace", took);
    samples.count("bare batch of RTM_NEWROUTE replace", count as usize);
    fixture.verify(count, 1)?;
    fixture.clear()
}

/// `ip nexthop replace` of the group that all prefixes use.
fn ip_nexthop(
    fixture: &Fixture,
    compatible: Option<bool>,
    count: u32,
    samples: &mut Samples,
) -> Result<()> {
    let router = &fixture.router;
    for ((id, gateway), interface) in PEER_SINGLES.iter().zip(GATEWAYS).zip(INTERFACES) {
        router.ip(&format!(
            "nexthop add id {id} via {gateway} dev {interface}"
        ))?;
    }
    router.ip(&format!(
        "nexthop add id {PEER_GROUP} group {}",
        PEER_SINGLES[0]
    ))?;
    let mut batch = NamedTempFile::new()?;
    for number in 0..count {
        writeln!(
            batch,
            "route add {}/32 nhid {PEER_GROUP} metric {METRIC} protocol {FOREIGN}",
            prefix(number)
        )?;
    }
    router.ip(&format!("-batch {}", batch.path().display()))?;
    fixture.verify(count, 0)?;
    let arguments = format!("nexthop replace id {PEER_GROUP} group {}", PEER_SINGLES[1]);
    let took = timed_ip(fixture, &arguments)?;
    let name = with_setting("ip nexthop replace", compatible);
    samples.note(&name, took);
    samples.count(&name, 1);
    fixture.verify(count, 1)?;
    fixture.clear()
}

fn install(fixture: &Fixture, count: u32) -> Result<()> {
    let ready = datagrams(Verb::Add, &fixture.routes(count, 0));
    fixture
        .router
        .run(move || Wire::open()?.write(&ready))
        .context("installing the routes that will move")?;
    fixture.verify(count, 0)
}

fn timed_ip(fixture: &Fixture, arguments: &str) -> Result<Duration> {
    let arguments = arguments.to_owned();
    fixture.router.run(move || {
        let begin = Instant::now();
        let status = std::process::Command::new("ip")
            .args(arguments.split_whitespace())
            .status()
            .context("cannot run ip")?;
        let took = begin.elapsed();
        ensure!(status.success(), "`ip {arguments}`: {status}");
        Ok(took)
    })
}
