//! The network of the benchmark, and turns of all probers in it.

use std::{
    collections::BTreeMap,
    io::Write,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use anyhow::Result;
use pingu::{
    probe::{EngineKind, LinkHeader, ProbeOrder},
    units::{Ifindex, SlotId},
};

use super::{
    DAEMON, LOOP, Options, Part, Run, TARGETS, flood,
    lines::{self, FLOOD_TARGETS, Peer, Wire},
};
use crate::bench::{
    bare_loop, cpu,
    daemon::{Running, Uplink, shares},
    namespace::Namespace,
    peers,
    watched::{Counters, Replies, Watched},
};

const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 255, 254);
/// More targets than this answer through one address with a /16 prefix instead of one each.
const ADDRESSES_MAX: u32 = 4_096;
/// Where everything runs that is not measured, if there is such a core.
const OTHER_CORE: usize = 0;
/// Reading their tables and starting their threads takes programs less.
const WARM_UP: Duration = Duration::from_millis(1_000);
/// A thousand processes take longer to begin.
const WARM_UP_OF_MANY: Duration = Duration::from_secs(4);
/// The daemon sends a first burst to all at once; the next ones are spread.
const WARM_UP_OF_DAEMON: Duration = Duration::from_secs(2);

/// Two namespaces, and what was measured in them.
pub(super) struct Lab {
    options: Options,
    sender: Namespace,
    _peer: Namespace,
    counters: Counters,
    template: ProbeOrder,
    wire: Wire,
    runs: BTreeMap<Part, Vec<(&'static str, Vec<Run>)>>,
    /// Peers that are not here.
    pub(super) missing: Vec<String>,
    /// The hooks that served pingu.
    pub(super) engine: EngineKind,
}

impl Lab {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let (sender, peer) = (Namespace::new()?, Namespace::new()?);
        sender.veth("uplink0", &peer, "peer0")?;
        sender.ip("address add 10.77.0.1/16 dev uplink0")?;
        peer.ip("address add 10.77.255.254/16 dev peer0")?;
        let most = options.targets.max(options.rate_targets).max(FLOOD_TARGETS);
        add_targets(&peer, most)?;
        sender.ip("route add 10.78.0.0/16 via 10.77.255.254")?;
        let (source, destination) = (sender.mac("uplink0")?, peer.mac("peer0")?);
        let template = ProbeOrder {
            slot: SlotId(0),
            ifindex: Ifindex(sender.ifindex("uplink0")?),
            link: LinkHeader::Ethernet {
                source,
                destination,
            },
            source: IpAddr::V4(SOURCE),
            target: IpAddr::V4(SOURCE),
            ident: 0x7069,
            sequence: 0,
            payload_bytes: 56,
            reflect: None,
        };
        // Both ends learn each other's address before anything is timed.
        sender.command("ping -q -c 1 -W 5 10.78.0.0")?;
        let core = options.core;
        sender.run(move || cpu::pin(core))?;
        // Whoever watches does not disturb.
        if core != OTHER_CORE {
            cpu::pin(OTHER_CORE)?;
        }
        Ok(Self {
            options: options.clone(),
            counters: Counters::new(&sender, &peer),
            sender,
            _peer: peer,
            template,
            wire: Wire {
                own: source,
                next: destination,
                core,
            },
            runs: BTreeMap::new(),
            missing: Vec::new(),
            engine: EngineKind::Socket,
        })
    }

    /// What was measured, in the order of the first turn.
    pub(super) fn runs(&self, part: Part) -> Vec<(&'static str, Vec<Run>)> {
        self.runs.get(&part).cloned().unwrap_or_default()
    }

    /// One run of each prober of a part.
    pub(super) fn turn(&mut self, part: Part) -> Result<()> {
        match part {
            Part::Flood => self.flood_turn(),
            Part::Rate => self.rate_turn(),
            Part::Each => self.each_turn(),
        }
    }

    fn flood_turn(&mut self) -> Result<()> {
        let (options, template) = (self.options.clone(), self.template);
        let (engine, run) = self.sender.run(move || flood::flood(&options, template))?;
        self.engine = engine;
        self.note(Part::Flood, LOOP, run);
        if self.options.alone {
            return Ok(());
        }
        let Options {
            window,
            targets,
            probes,
            receive,
            ..
        } = self.options;
        let orders = bare_loop::orders(window, targets, TARGETS, &self.template);
        let run = self
            .sender
            .run(move || bare_loop::flood(&orders, probes, receive))?;
        self.note(Part::Flood, "a bare loop of its kind", run);
        let run = self.sender.run(|| peers::fping(FLOOD_TARGETS, &[]))?;
        self.note(Part::Flood, "fping", run);
        let run = self.sender.run(|| peers::fping(FLOOD_TARGETS, &["-q"]))?;
        self.note(Part::Flood, "fping -q", run);
        for peer in lines::floods(&self.wire) {
            self.watch(Part::Flood, &peer, WARM_UP)?;
        }
        Ok(())
    }

    fn rate_turn(&mut self) -> Result<()> {
        let run = self.daemon()?;
        self.note(Part::Rate, DAEMON, run);
        let length = Duration::from_millis(self.options.watch_ms);
        for (tick_ms, name) in [
            (10, "its transport, 10 ms tick"),
            (1, "its transport, 1 ms tick"),
        ] {
            let (options, template) = (self.options.clone(), self.template);
            let times = [Duration::from_millis(tick_ms), length];
            let run = self
                .sender
                .run(move || flood::paced(&options, template, times))?;
            self.note(Part::Rate, name, run);
        }
        if self.options.alone {
            return Ok(());
        }
        let (rate, targets) = (self.options.rate, self.options.rate_targets);
        for peer in lines::paced(&self.wire, rate, targets) {
            self.watch(Part::Rate, &peer, WARM_UP)?;
        }
        Ok(())
    }

    fn each_turn(&mut self) -> Result<()> {
        // The daemon's run at the same rate over the same targets serves both parts.
        let latest = self
            .runs(Part::Rate)
            .first()
            .and_then(|(_, runs)| runs.last().copied());
        let own = match latest {
            Some(run) => run,
            None => self.daemon()?,
        };
        self.note(Part::Each, DAEMON, own);
        if self.options.alone {
            return Ok(());
        }
        let (rate, targets) = (self.options.rate, self.options.rate_targets);
        let peer = lines::dpingers(&self.options.dpinger, rate, targets);
        self.watch(Part::Each, &peer, WARM_UP_OF_MANY)
    }

    fn watch(&mut self, part: Part, peer: &Peer, warm_up: Duration) -> Result<()> {
        let program = &peer.commands[0][0];
        if !is_here(program) {
            let missing = format!("{program}, for `{}`", peer.name);
            if !self.missing.contains(&missing) {
                self.missing.push(missing);
            }
            return Ok(());
        }
        let mut watched = Watched::start(&self.sender, peer.commands.clone())?;
        let times = [warm_up, Duration::from_millis(self.options.watch_ms)];
        let core = Some(self.options.core);
        let run = watched
            .measure(&self.counters, Replies::Returned, core, times)
            .map_err(|error| error.context(peer.name))?;
        self.note(part, peer.name, run);
        Ok(())
    }

    fn daemon(&self) -> Result<Run> {
        let (rate, targets) = (self.options.rate, self.options.rate_targets);
        let uplinks = uplinks(&self.sender, targets)?;
        let interval_ms = 1000 * targets / rate;
        let probe =
            format!("count = 1\nperiod = \"{interval_ms}ms\"\ntimeout = \"{interval_ms}ms\"");
        let mut running = Running::start(&self.sender, &uplinks, [&probe, ""])?;
        running.wait_until_up()?;
        let times = [
            WARM_UP_OF_DAEMON,
            Duration::from_millis(self.options.watch_ms),
        ];
        let core = Some(self.options.core);
        running
            .watched
            .measure(&self.counters, Replies::Made, core, times)
    }

    fn note(&mut self, part: Part, prober: &'static str, run: Run) {
        let runs = self.runs.entry(part).or_default();
        match runs.iter_mut().find(|(name, _)| *name == prober) {
            Some((_, runs)) => runs.push(run),
            None => runs.push((prober, vec![run])),
        }
    }
}

/// Uplinks of one interface that share the targets, each with an address of its own there.
fn uplinks(namespace: &Namespace, targets: u32) -> Result<Vec<Uplink>> {
    let (count, each) = shares(targets);
    let source = |number: u32| Ipv4Addr::from(u32::from(SOURCE) + number);
    let mut batch = tempfile::NamedTempFile::new()?;
    for number in 1..count {
        writeln!(batch, "address replace {}/16 dev uplink0", source(number))?;
    }
    namespace.ip(&format!("-batch {}", batch.path().display()))?;
    let uplink = |number| Uplink {
        interface: "uplink0".to_owned(),
        gateway: GATEWAY,
        source: source(number),
        targets: (number * each..(number + 1) * each)
            .map(|target| Ipv4Addr::from(TARGETS + target))
            .collect(),
    };
    Ok((0..count).map(uplink).collect())
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

/// Whether a program can be started.
pub(crate) fn is_here(program: &str) -> bool {
    let directories = std::env::var_os("PATH").unwrap_or_default();
    program.contains('/') && std::path::Path::new(program).exists()
        || std::env::split_paths(&directories).any(|directory| directory.join(program).exists())
}
