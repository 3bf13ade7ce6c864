//! pingu's own path in this process: an engine whose probes go unanswered on one uplink, its plans, and the kernel's real table.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use pingu::{
    config::Config,
    engine::{Engine, State, reconcile},
    netlink::{KernelRoutes, RouteTable},
    network::Change,
    probe::{ProbeOrder, ProbeTransport, SendResult, Stamps},
    units::SlotId,
};

use super::{
    fixture::{GATEWAYS, INTERFACES, METRIC, OWN},
    wire::prefix,
};

/// The engine's own time between two of its turns; it jumps, nobody waits.
const STEP: Duration = Duration::from_millis(10);

/// A state changes within a few bursts, each of which takes less than this many steps.
const STEPS_MAX: usize = 1_000;

/// One plan adds, the next deletes, and places are exchanged one after the other; more than a few would never end.
const PLANS_MAX: usize = 8;

/// As the daemon has it: with more changes than this their acknowledgements count as a look.
const CHANGES_SEEN_MAX: usize = 512;

/// How a group shares its routes, in the words of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Metric,
    Ordered,
    Balance,
}

impl Mode {
    /// As in the configuration.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Metric => "metric",
            Self::Ordered => "ordered",
            Self::Balance => "balance",
        }
    }
}

/// What one move took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Move {
    /// From before the engine judged the burst that decided until the last write had been made.
    pub(super) whole: Duration,
    /// The writes alone.
    pub(super) writing: Duration,
    /// Changes written.
    pub(super) changes: usize,
}

/// A configuration that moves so many prefixes.
pub(super) fn group(mode: Mode, count: u32) -> String {
    let prefixes: Vec<String> = (0..count)
        .map(|number| format!("\"{}/32\"", prefix(number)))
        .collect();
    let start_metric = match mode {
        Mode::Metric => String::new(),
        Mode::Ordered | Mode::Balance => format!("start_metric = {METRIC}\n"),
    };
    format!(
        "name = \"wan\"\nmode = \"{}\"\n{start_metric}prefixes = [{}]\n",
        mode.name(),
        prefixes.join(", ")
    )
}

fn config(mode: Mode, count: u32) -> Result<Config> {
    let mut text = format!(
        "protocol = {OWN}\n[probe]\ntargets = [\"192.0.2.1\"]\ncount = 3\nspacing = \"20ms\"\nperiod = \"100ms\"\n\
         timeout = \"100ms\"\n[[group]]\n{}",
        group(mode, count)
    );
    for (interface, gateway) in INTERFACES.iter().zip(GATEWAYS) {
        text.push_str(&format!(
            "[[uplink]]\nname = \"{interface}\"\ninterface = \"{interface}\"\ngateway = \"{gateway}\"\n"
        ));
    }
    let parsed = Config::parse(&text, "the benchmark's configuration");
    Ok(parsed.map_err(|problems| anyhow::anyhow!("{problems}"))?.0)
}

/// Answers every probe in an instant, but for those that leave by the silent interface.
#[derive(Default)]
struct Wires {
    silent: Option<u32>,
    slots: BTreeMap<SlotId, Stamps>,
}

impl ProbeTransport for Wires {
    fn send(&mut self, orders: &[ProbeOrder], results: &mut Vec<SendResult>) {
        results.clear();
        for order in orders {
            let answered = self.silent != Some(order.ifindex.0);
            self.slots.insert(
                order.slot,
                Stamps {
                    sent_ns: Some(1_000),
                    received_ns: answered.then_some(2_000),
                },
            );
            results.push(SendResult::Sent);
        }
    }

    fn read(&self, slot: SlotId) -> Stamps {
        let unarmed = Stamps {
            sent_ns: None,
            received_ns: None,
        };
        self.slots.get(&slot).copied().unwrap_or(unarmed)
    }
}

/// An engine and the kernel's table.
pub(super) struct Mover {
    engine: Engine,
    routes: KernelRoutes,
    wires: Wires,
    now: Instant,
}

impl Mover {
    /// Starts with both uplinks up and the routes in the table; must be called in the namespace, on a runtime.
    pub(super) async fn start(mode: Mode, count: u32) -> Result<Self> {
        let config = config(mode, count)?;
        let now = Instant::now();
        let mut mover = Self {
            routes: KernelRoutes::new(config.protocol)?,
            engine: Engine::new(config, 1, now),
            wires: Wires::default(),
            now,
        };
        mover.look().await?;
        mover.step_until(&[State::Up, State::Up])?;
        mover.converge(&mut Move::default()).await?;
        Ok(mover)
    }

    /// One of the uplinks falls silent, or none does; all routes follow.
    pub(super) async fn silence(&mut self, silent: Option<(usize, u32)>) -> Result<Move> {
        self.wires.silent = silent.map(|(_, ifindex)| ifindex);
        let mut wanted = [State::Up; 2];
        if let Some((uplink, _)) = silent {
            wanted[uplink] = State::Down;
        }
        let decided = self.step_until(&wanted)?;
        let mut made = Move {
            whole: decided,
            ..Move::default()
        };
        self.converge(&mut made).await?;
        Ok(made)
    }

    /// Lets the engine probe until the uplinks' states are these, and tells what the turn in which that was decided took.
    fn step_until(&mut self, wanted: &[State]) -> Result<Duration> {
        for _ in 0..STEPS_MAX {
            self.now += STEP;
            let begin = Instant::now();
            self.engine.run(self.now, &mut self.wires);
            self.engine.sent(self.now);
            let took = begin.elapsed();
            if self
                .engine
                .states()
                .map(|(_, state, _)| state)
                .eq(wanted.iter().copied())
            {
                return Ok(took);
            }
        }
        let states: Vec<_> = self.engine.states().collect();
        bail!("the uplinks are {states:?} instead of {wanted:?}");
    }

    async fn look(&mut self) -> Result<()> {
        let snapshot = self
            .routes
            .snapshot()
            .await
            .context("a look at the kernel")?;
        self.engine.network(snapshot, self.now);
        Ok(())
    }

    /// As the daemon does it: plan, write, look, until there is nothing to write.
    async fn converge(&mut self, made: &mut Move) -> Result<()> {
        let begin = Instant::now();
        let before = made.whole;
        for _ in 0..PLANS_MAX {
            let own = self.engine.config().protocol;
            let objects = self.engine.nexthop_set();
            let ahead = reconcile::plan_nexthops(self.engine.snapshot(), &objects, own);
            self.write(&ahead, begin, before, made).await?;
            let set = self.engine.route_set();
            let mut changes = reconcile::plan(self.engine.snapshot(), &set, own).changes;
            changes.retain(|change| !ahead.contains(change));
            if changes.is_empty() && ahead.is_empty() {
                return Ok(());
            }
            self.write(&changes, begin, before, made).await?;
            if changes.len() > CHANGES_SEEN_MAX {
                self.engine.acknowledge(&changes);
                let behind = reconcile::plan_behind(self.engine.snapshot(), &set, own);
                self.write(&behind, begin, before, made).await?;
            }
            self.look().await?;
        }
        bail!("the table does not come to rest");
    }

    async fn write(
        &mut self,
        changes: &[Change],
        begin: Instant,
        before: Duration,
        made: &mut Move,
    ) -> Result<()> {
        let begin_writing = Instant::now();
        let outcomes = self.routes.apply_all(changes).await;
        let wrote = begin_writing.elapsed();
        let refused = outcomes.into_iter().find_map(Result::err);
        ensure!(refused.is_none(), "a change was refused: {refused:?}");
        // An object that nothing uses any more goes when all has moved.
        if !changes
            .iter()
            .all(|change| matches!(change, Change::DeleteNexthop(_)))
        {
            made.writing += wrote;
            made.whole = before + begin.elapsed();
            made.changes += changes.len();
        }
        Ok(())
    }
}
