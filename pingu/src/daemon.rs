//! The loop: it waits for an event, lets the engine think, and makes the kernel agree. It owns everything and alone writes.

use std::{
    io,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    adopted::AdoptedNote,
    config::{Config, OnExit},
    control::{Control, Request},
    daemon::{back_off::BackOff, budget::WriteBudget, hooks::Hooks, instance::Instance},
    engine::{
        Engine, State,
        reconcile::{self, Plan},
    },
    netlink::{KernelRoutes, NetlinkError, RouteTable, watch::Watch},
    network::{Change, News, Route},
    probe::kernel::KernelTransport,
};

mod back_off;
mod budget;
mod hooks;
mod instance;

/// Our own changes come back as news, and others' come in heaps: after one look, which takes about a millisecond, the next waits
/// this long. A carrier that is lost just after a look shall be seen well within 100 ms, on a busy machine too.
const DEBOUNCE: Duration = Duration::from_millis(20);

/// Without any news the kernel is looked at again after this long: some deletions are silent.
const AUDIT_EVERY: Duration = Duration::from_secs(10);

/// After a failed look, or with the write budget spent, the kernel is left alone for this long.
const BACK_OFF: Duration = Duration::from_secs(1);

/// Runs until SIGINT, SIGTERM or SIGHUP, or until the kernel's netlink is lost.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut daemon = Daemon::start(config).await?;
    let outcome = daemon.serve().await;
    let farewell = daemon.stop().await;
    outcome.and(farewell)
}

/// Something that ends the loop's waiting.
enum Event {
    Due,
    News(io::Result<News>),
    Asked(Request),
    Stop(&'static str),
}

struct Daemon {
    engine: Engine,
    transport: KernelTransport,
    routes: KernelRoutes,
    watch: Watch,
    hooks: Hooks,
    control: Control,
    signals: [(&'static str, Signal); 3],
    note: AdoptedNote,
    budget: WriteBudget,
    back_off: BackOff,
    last_look: Instant,
    look_at: Instant,
    /// The engine's revision that the kernel was last made to agree with.
    converged: Option<u64>,
    states: Vec<State>,
    _instance: Instance,
}

impl Daemon {
    async fn start(config: Config) -> anyhow::Result<Self> {
        let instance = Instance::claim(config.protocol)?;
        let now = clock();
        let note = AdoptedNote::new(&config.state_directory);
        let control = Control::bind(&config.socket)
            .with_context(|| format!("cannot listen on {}", config.socket.display()))?;
        let signals = [
            ("SIGINT", signal(SignalKind::interrupt())?),
            ("SIGTERM", signal(SignalKind::terminate())?),
            ("SIGHUP", signal(SignalKind::hangup())?),
        ];
        let watch = Watch::new(config.protocol).context("cannot listen to the kernel's news")?;
        let routes =
            KernelRoutes::new(config.protocol).context("cannot talk to the kernel's routing")?;
        let receive = config.receive_hook;
        let budget = WriteBudget::new(config.uplinks.len(), now);
        let mut engine = Engine::new(config, rand::random(), now);
        engine.remember_adopted(note.read());
        let transport = KernelTransport::load(engine.slots_needed(), receive)
            .context("cannot load the eBPF programs")?;
        let states = vec![State::Unknown; engine.config().uplinks.len()];
        Ok(Self {
            engine,
            transport,
            routes,
            watch,
            hooks: Hooks::default(),
            control,
            signals,
            note,
            budget,
            back_off: BackOff::default(),
            last_look: now,
            look_at: now,
            converged: None,
            states,
            _instance: instance,
        })
    }

    async fn serve(&mut self) -> anyhow::Result<()> {
        tracing::info!(uplinks = self.engine.config().uplinks.len(), "probing");
        loop {
            if clock() >= self.look_at {
                self.look().await?;
            }
            self.probe().await;
            self.log_states();
            if self.converged != Some(self.engine.revision()) {
                self.converge().await;
            }
            match self.next_event().await {
                Event::Due => {}
                Event::News(news) => self.take_news(news)?,
                Event::Asked(request) => {
                    request.answer(&self.engine.status(clock(), time_of_day()))
                }
                Event::Stop(signal) => {
                    tracing::info!(signal, "stopping");
                    return Ok(());
                }
            }
        }
    }

    async fn next_event(&mut self) -> Event {
        let due = self
            .engine
            .next_wake()
            .map_or(self.look_at, |wake| wake.min(self.look_at));
        let [(int, on_int), (term, on_term), (hup, on_hup)] = &mut self.signals;
        tokio::select! {
            biased;
            _ = on_int.recv() => Event::Stop(int),
            _ = on_term.recv() => Event::Stop(term),
            _ = on_hup.recv() => Event::Stop(hup),
            news = self.watch.next() => Event::News(news),
            () = tokio::time::sleep_until(due.into()) => Event::Due,
            request = self.control.next() => Event::Asked(request),
        }
    }

    fn take_news(&mut self, news: io::Result<News>) -> anyhow::Result<()> {
        match news {
            Ok(News::Neighbour(neighbour)) => self.engine.neighbour(&neighbour, clock()),
            Ok(News::Changed) => self.look_soon(),
            Ok(News::Overrun) => {
                tracing::debug!("news were lost, looking at everything again");
                self.look_soon();
            }
            Err(error) => {
                tracing::warn!(%error, "the news socket failed, opening another");
                self.watch = Watch::new(self.engine.config().protocol)
                    .context("cannot listen to the kernel's news")?;
                self.look_soon();
            }
        }
        Ok(())
    }

    fn look_soon(&mut self) {
        self.look_at = self.look_at.min(self.last_look + DEBOUNCE);
    }

    /// Looks at the kernel, and lets hooks follow the interfaces.
    async fn look(&mut self) -> anyhow::Result<()> {
        let snapshot = match self.routes.snapshot().await {
            Ok(snapshot) => snapshot,
            Err(NetlinkError::Closed) => {
                tracing::warn!("the netlink connection closed, opening another");
                self.routes = KernelRoutes::new(self.engine.config().protocol)?;
                self.routes
                    .snapshot()
                    .await
                    .context("cannot look at the kernel's routes")?
            }
            Err(error) => {
                tracing::debug!(%error, "this look failed, another follows");
                self.last_look = clock();
                self.look_at = self.last_look + BACK_OFF;
                return Ok(());
            }
        };
        let now = clock();
        self.last_look = now;
        self.look_at = now + AUDIT_EVERY;
        self.engine.network(snapshot, now);
        self.hooks
            .follow(&mut self.engine, &mut self.transport, now);
        Ok(())
    }

    async fn probe(&mut self) {
        self.engine.run(clock(), &mut self.transport);
        self.engine.sent(clock());
        for (ifindex, address) in self.engine.solicitations(clock()) {
            if let Err(error) = self.routes.solicit(ifindex, address).await {
                tracing::debug!(%ifindex, %address, %error, "cannot ask for a neighbour");
            }
        }
    }

    /// Makes the kernel's routes agree with what the engine wants.
    async fn converge(&mut self) {
        self.converged = Some(self.engine.revision());
        self.put_back_in_vain().await;
        let set = self.engine.route_set();
        let Plan {
            changes,
            conflicts: _,
        } = reconcile::plan(
            &self.engine.snapshot().routes,
            &set,
            self.engine.config().protocol,
        );
        if changes.is_empty() {
            self.back_off.reset();
            return;
        }
        let now = clock();
        self.look_at = now;
        let mut refused = false;
        for change in changes {
            if !self.budget.take(clock()) {
                tracing::warn!("routes change faster than they may be written; waiting");
                self.look_at = now + BACK_OFF;
                return;
            }
            if let Err(error) = self.write(&change).await {
                tracing::warn!(%error, ?change, "a route could not be changed");
                refused = true;
            }
        }
        if refused {
            self.look_at = now + self.back_off.pause();
        } else {
            self.back_off.reset();
        }
    }

    /// Puts back what an earlier run adopted and this one would not.
    async fn put_back_in_vain(&mut self) {
        let in_vain = self.engine.adopted_in_vain();
        for route in &in_vain {
            match self.write(&Change::Restore(route.clone())).await {
                Ok(()) => self.engine.forget_adopted(route),
                Err(error) => {
                    tracing::warn!(%error, %route, "a route adopted by an earlier run could not be put back");
                    self.look_at = clock() + BACK_OFF;
                }
            }
        }
        if !in_vain.is_empty()
            && let Err(error) = self.note.write(self.engine.adopted())
        {
            tracing::warn!(%error, "the note of adopted routes could not be written");
        }
    }

    async fn write(&mut self, change: &Change) -> anyhow::Result<()> {
        if let Change::TakeOver(route) = change {
            let mut noted: Vec<Route> = self.engine.adopted().to_vec();
            noted.push(route.clone());
            self.note
                .write(&noted)
                .context("a route is not taken over before it has been noted")?;
        }
        self.routes.apply(change).await?;
        match change {
            Change::Add(route) | Change::AddBeside(route) => {
                tracing::info!(route = %route, "added")
            }
            Change::Delete(route) => tracing::info!(route = %route, "deleted"),
            Change::Restore(route) => tracing::info!(route = %route, "put back"),
            Change::TakeOver(route) => {
                tracing::info!(route = %route, "taken over");
                self.engine.remember_adopted([route.clone()]);
            }
        }
        Ok(())
    }

    fn log_states(&mut self) {
        for (known, (uplink, state, reason)) in self.states.iter_mut().zip(self.engine.states()) {
            if *known != state {
                tracing::info!(uplink, from = ?*known, to = ?state, reason, "uplink changed");
                *known = state;
            }
        }
    }

    /// Leaves the kernel as `on_exit` says.
    async fn stop(&mut self) -> anyhow::Result<()> {
        if self.engine.config().on_exit == OnExit::Keep {
            return Ok(());
        }
        let snapshot = self
            .routes
            .snapshot()
            .await
            .context("cannot look at the routes to withdraw")?;
        let own = self.engine.config().protocol;
        let adopted = self.engine.adopted().to_vec();
        let mut lost = Vec::new();
        for change in reconcile::withdrawal(&snapshot.routes, &adopted, own) {
            if let Err(error) = self.write(&change).await {
                tracing::warn!(%error, ?change, "a route could not be changed");
                if let Change::Restore(route) = change {
                    lost.push(route);
                }
            }
        }
        self.note
            .write(&lost)
            .context("cannot note the routes that could not be put back")?;
        let rest = self.routes.snapshot().await?;
        if !snapshot.routes.is_empty() && rest.routes.is_empty() {
            tracing::warn!(
                "no default route is left: pingu's own were the only ones (on_exit = \"keep\" would leave them)"
            );
        }
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the loop: the only place that reads the clock"
)]
fn clock() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the loop: the only place that reads the clock"
)]
fn time_of_day() -> SystemTime {
    SystemTime::now()
}
