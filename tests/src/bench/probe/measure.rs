//! The network of the benchmark, and turns of all probers in it.

use std::{collections::BTreeMap, env, time::Duration};

use anyhow::{Context, Result};
use pingu::probe::{EngineKind, ProbeOrder};

use super::{
    DAEMON, LOOP, Options, Part, Run, flood,
    lines::{self, FLOOD_TARGETS, Peer, REST_OF_MANY, Wire},
};
use crate::bench::{
    bare_loop::{self, Outlet},
    cpu,
    daemon::Running,
    link::{Link, TARGETS},
    peers,
    watched::{Replies, Watched},
};

/// Where everything runs that is not measured, if there is such a core.
const OTHER_CORE: usize = 0;
/// Reading their tables and starting their threads takes programs less.
const WARM_UP: Duration = Duration::from_millis(1_000);
/// A thousand processes take longer to begin.
const WARM_UP_OF_MANY: Duration = Duration::from_secs(2);
/// The daemon sends a first burst to all at once; the next ones are spread.
const WARM_UP_OF_DAEMON: Duration = Duration::from_secs(2);

/// Two namespaces, and what was measured in them.
pub(super) struct Lab {
    options: Options,
    link: Link,
    template: ProbeOrder,
    wire: Wire,
    runs: BTreeMap<Part, Vec<(&'static str, Vec<Run>)>>,
    /// What the bare loops' slots told in each run: median and p99.
    pub(super) rtts_us: BTreeMap<&'static str, Vec<[f64; 2]>>,
    /// Peers that are not here.
    pub(super) missing: Vec<String>,
    /// The hooks that served pingu's own loop, once it has run.
    pub(super) engine: Option<EngineKind>,
}

impl Lab {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let most = options.targets.max(options.rate_targets).max(FLOOD_TARGETS);
        let link = Link::new(most)?;
        let core = options.core;
        link.sender.run(move || cpu::pin(core))?;
        // Whoever watches does not disturb.
        if core != OTHER_CORE {
            cpu::pin(OTHER_CORE)?;
        }
        let [own, next] = link.addresses;
        Ok(Self {
            options: options.clone(),
            template: link.template(),
            wire: Wire { own, next, core },
            link,
            runs: BTreeMap::new(),
            rtts_us: BTreeMap::new(),
            missing: Vec::new(),
            engine: None,
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
        let (engine, run) = self
            .link
            .sender
            .run(move || flood::flood(&options, template))?;
        self.engine = Some(engine);
        self.note(Part::Flood, LOOP, run);
        let loops: &[_] = match (self.options.af_xdp, self.options.alone) {
            (true, _) => &[
                ("a bare loop of its kind", Outlet::PacketSocket),
                ("that loop, AF_XDP out", Outlet::FrameSocket),
            ],
            (false, false) => &[("a bare loop of its kind", Outlet::PacketSocket)],
            (false, true) => &[],
        };
        for &(name, outlet) in loops {
            self.bare_loop(name, outlet)?;
        }
        if self.options.alone {
            return Ok(());
        }
        let targets = self.options.targets;
        let fpings: [(&'static str, u32, &'static [&'static str]); 3] = [
            ("fping, as many targets", targets, &[]),
            ("fping, 256 targets", FLOOD_TARGETS, &[]),
            ("fping -q, 256 targets", FLOOD_TARGETS, &["-q"]),
        ];
        for (name, targets, options) in fpings {
            let run = self
                .link
                .sender
                .run(move || peers::fping(targets, options))?;
            self.note(Part::Flood, name, run);
        }
        for peer in lines::floods(&self.wire) {
            self.watch(Part::Flood, &peer, WARM_UP)?;
        }
        Ok(())
    }

    fn bare_loop(&mut self, name: &'static str, outlet: Outlet) -> Result<()> {
        let Options {
            window,
            targets,
            probes,
            receive,
            ..
        } = self.options;
        let orders = bare_loop::orders(window, targets, TARGETS, &self.template);
        let flooded = self
            .link
            .sender
            .run(move || bare_loop::flood(&orders, probes, receive, outlet))?;
        self.note(Part::Flood, name, flooded.run);
        self.rtts_us.entry(name).or_default().push(flooded.rtt_us);
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
                .link
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
        self.watch(Part::Each, &peer, WARM_UP_OF_MANY)?;
        let own = env::current_exe()?;
        let own = own.to_str().context("the path of the benchmark")?;
        let peer = lines::floor(own, rate, targets);
        self.watch(Part::Each, &peer, REST_OF_MANY + WARM_UP_OF_MANY)
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
        let mut watched = Watched::start(&self.link.sender, peer.commands.clone())?;
        let times = [warm_up, Duration::from_millis(self.options.watch_ms)];
        let core = Some(self.options.core);
        let run = watched
            .measure(&self.link.counters, Replies::Returned, core, times)
            .map_err(|error| error.context(peer.name))?;
        self.note(part, peer.name, run);
        Ok(())
    }

    fn daemon(&self) -> Result<Run> {
        let (rate, targets) = (self.options.rate, self.options.rate_targets);
        let uplinks = self.link.uplinks(targets)?;
        let interval_ms = 1000 * targets / rate;
        let probe =
            format!("count = 1\nperiod = \"{interval_ms}ms\"\ntimeout = \"{interval_ms}ms\"");
        let mut running = Running::start(&self.link.sender, &uplinks, [&probe, ""])?;
        running.wait_until_up()?;
        let times = [
            WARM_UP_OF_DAEMON,
            Duration::from_millis(self.options.watch_ms),
        ];
        let core = Some(self.options.core);
        running
            .watched
            .measure(&self.link.counters, Replies::Made, core, times)
    }

    fn note(&mut self, part: Part, prober: &'static str, run: Run) {
        let runs = self.runs.entry(part).or_default();
        match runs.iter_mut().find(|(name, _)| *name == prober) {
            Some((_, runs)) => runs.push(run),
            None => runs.push((prober, vec![run])),
        }
    }
}

/// Whether a program can be started.
pub(in crate::bench) fn is_here(program: &str) -> bool {
    let directories = env::var_os("PATH").unwrap_or_default();
    program.contains('/') && std::path::Path::new(program).exists()
        || env::split_paths(&directories).any(|directory| directory.join(program).exists())
}
