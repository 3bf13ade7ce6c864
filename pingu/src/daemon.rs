//! The loop: it waits for an event, lets the engine think, and makes the kernel agree. It owns everything and alone writes.

use std::{
    io,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context;

use crate::{
    adopted::AdoptedNote,
    config::Config,
    control::{Control, Request},
    daemon::{
        adviser::Adviser,
        alarm::Alarm,
        back_off::BackOff,
        budget::{Allowance, WriteBudget},
        checks::{CheckResult, Checks},
        commands::Commands,
        connections::Flows,
        hooks::Hooks,
        instance::Instance,
        lookout::{Lookout, Sight},
        neighbours::Neighbours,
        notify::Notifier,
        pins::Pins,
        printer::Printer,
        rehearsal::Rehearsal,
        saver::Saver,
        signals::{Signals, Wish},
        sticky::Sticky,
        telling::Telling,
    },
    engine::{Engine, State},
    memory::{Memory, MemoryFile},
    netlink::{KernelRoutes, watch::Watch},
    network::News,
    probe::{
        kernel::LoadOptions,
        transport::{Transport, beside::Made},
    },
    script::policy,
};

mod actor;
mod adviser;
mod alarm;
mod answers;
mod back_off;
mod budget;
mod checks;
mod chronicle;
mod commands;
mod connections;
mod hooks;
mod instance;
mod limits;
mod looking;
mod lookout;
mod neighbours;
mod news;
pub(crate) mod notify;
mod packet_log;
mod pins;
mod printer;
mod rehearsal;
mod routing;
mod saver;
mod signals;
mod sticky;
mod telling;
mod waiting;

/// Without any news the kernel is looked at again after this long: some deletions are silent.
const AUDIT_EVERY: Duration = Duration::from_secs(10);

/// After a failed look, or with the write budget spent, the kernel is left alone for this long.
const BACK_OFF: Duration = Duration::from_secs(1);

/// Runs until SIGINT, SIGTERM or SIGHUP, or until the kernel's netlink is lost.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut daemon = Daemon::start(config).await?;
    let served = daemon.serve().await;
    daemon.engine.tell_time(time_of_day(), clock());
    daemon.engine.note_spending(clock());
    let memory = memory_of(&daemon.engine, &daemon.pins);
    daemon.saver.finish(memory, clock()).await;
    daemon.commands.stop();
    // After an error of our own everything stays as it is: routes without pingu are better than none.
    served?;
    daemon.withdraw().await
}

/// Something that ends the loop's waiting.
enum Event {
    Due,
    /// The engine has just probed, and has more to do.
    Probed,
    News(io::Result<News>),
    Asked(Request),
    Saved(saver::Outcome),
    /// A look at the kernel has ended; nothing if nobody looks any more.
    Looked(Option<Sight>),
    /// Hooks were attached, or could not be.
    Attached(Option<Made>),
    /// A check has ended.
    Checked(CheckResult),
    /// A hook's command has ended.
    Ran(commands::Ran),
    /// The script says something, or has ended.
    Advised(Option<policy::Word>),
    /// The sticky file says something else.
    Sticky,
    Wished(Wish),
}

struct Daemon {
    engine: Engine,
    transport: Transport,
    routes: KernelRoutes,
    watch: Watch,
    neighbours: Neighbours,
    hooks: Hooks,
    checks: Checks,
    commands: Commands,
    /// Some interface may want its hooks.
    hooks_due: bool,
    alarm: Alarm,
    control: Control,
    telling: Telling,
    signals: Signals,
    printer: Printer,
    rehearsal: Rehearsal,
    note: AdoptedNote,
    saver: Saver,
    notifier: Notifier,
    pins: Pins,
    adviser: Adviser,
    budget: WriteBudget,
    allowance: Allowance,
    flows: Flows,
    back_off: BackOff,
    last_look: Instant,
    /// When the latest look began.
    look_began: Instant,
    /// What the last look took.
    look_took: Duration,
    look_at: Instant,
    /// Looks that have failed since the last one that did not.
    looks_failed: u32,
    lookout: Lookout,
    /// The engine's revision that the kernel was last made to agree with.
    converged: Option<u64>,
    /// When the engine last thought.
    decided: Instant,
    states: Vec<State>,
    /// Some state has changed since connections were last looked at.
    states_changed: bool,
    warnings: Vec<String>,
    _instance: Instance,
}

impl Daemon {
    async fn start(config: Config) -> anyhow::Result<Self> {
        let signals = Signals::catch()?;
        let instance = Instance::claim(config.protocol)?;
        limits::raise_open_files(&config);
        let now = clock();
        let note = AdoptedNote::new(&config.state_directory, config.protocol);
        let control = Control::bind(&config.socket)
            .with_context(|| format!("cannot listen on {}", config.socket.display()))?;
        let mut watch =
            Watch::new(config.protocol).context("cannot listen to the kernel's news")?;
        let mut routes =
            KernelRoutes::new(config.protocol).context("cannot talk to the kernel's routing")?;
        watch.know_own(routes.ports());
        let neighbours = Neighbours::start(config.protocol).context("cannot start a thread")?;
        let (choice, receive) = (config.engine, config.receive_hook);
        let adviser = Adviser::new(config.script.as_ref(), now)?;
        let budget = WriteBudget::new(config.objects_max(), now);
        let flows = Flows::new(&config);
        let mut engine = Engine::new(config, rand::random(), now);
        engine.remember_adopted(note.read());
        let file = MemoryFile::new(&engine.config().state_directory, engine.config().protocol);
        let memory = file.read();
        engine.remember_gateways(memory.gateways.iter().cloned());
        engine.remember_spending(memory.spending.iter().cloned());
        let sticky = engine.config().sticky_file.clone().map(Sticky::follow);
        let sticky = sticky.transpose().context("cannot start a thread")?;
        let pins = Pins::new(&engine, memory.pinned.as_deref(), sticky);
        let saver = Saver::new(file, memory, now);
        let uplinks = engine.config().uplinks.len() as u32;
        let options = LoadOptions::new(engine.slots_needed(), receive).counting(uplinks);
        let mut transport =
            Transport::load(choice, options).context("cannot load the eBPF programs")?;
        packet_log::follow(&mut transport);
        let hooks = Hooks::new(&mut transport).context("cannot start a thread")?;
        let checks = Checks::start(engine.check_count()).context("cannot start a thread")?;
        let commands = Commands::start(engine.config()).context("cannot start a thread")?;
        let states = vec![State::Unknown; engine.config().uplinks.len()];
        let own = engine.config().protocol;
        Ok(Self {
            engine,
            transport,
            routes,
            watch,
            neighbours,
            hooks,
            checks,
            commands,
            hooks_due: false,
            alarm: Alarm::new().context("cannot have a timer")?,
            control,
            telling: Telling::default(),
            signals,
            printer: Printer::default(),
            rehearsal: Rehearsal::default(),
            note,
            saver,
            notifier: Notifier::new(now),
            pins,
            adviser,
            budget,
            allowance: Allowance::default(),
            flows,
            back_off: BackOff::default(),
            last_look: now,
            look_began: now,
            look_took: Duration::ZERO,
            look_at: now,
            looks_failed: 0,
            lookout: Lookout::start(own).context("cannot start a thread")?,
            converged: None,
            decided: now,
            states,
            states_changed: false,
            warnings: Vec::new(),
            _instance: instance,
        })
    }

    async fn serve(&mut self) -> anyhow::Result<()> {
        let config = self.engine.config();
        tracing::info!(uplinks = config.uplinks.len(), memory = %config.footprint(), "probing");
        self.read_sticky_file();
        let mut is_probed = false;
        loop {
            if !is_probed {
                self.prepare().await?;
                self.probe();
            }
            self.follow_script();
            // First of all, routes: traffic waits for them.
            // Somebody may hold the lock that a write takes, too: it waits for a look that is under way.
            let is_free = !self.lookout.is_under_way();
            if is_free && self.converged != Some(self.engine.revision()) {
                self.converge().await;
                self.log_warnings();
            } else {
                self.rehearse();
            }
            self.log_states();
            self.ask_neighbours();
            self.check();
            // An uplink may also die without a route that would move.
            let changed = std::mem::take(&mut self.states_changed);
            if changed || self.flows.next_wake().is_some_and(|wake| wake <= clock()) {
                self.flows.observe(&self.engine, clock());
            }
            let (engine, pins) = (&self.engine, &self.pins);
            let memory = || memory_of(engine, pins);
            self.saver.follow(engine.revision(), memory, clock());
            self.command(clock());
            self.notify(changed);
            self.tell();
            let event = self.next_event().await;
            is_probed = matches!(event, Event::Probed);
            match event {
                Event::Due | Event::Probed => {}
                Event::Looked(sight) => self.take_look(sight)?,
                Event::Attached(made) => self.take_hooks(made)?,
                Event::Checked(result) => self.take_check(result),
                Event::Ran(ran) => self.commands.take(ran),
                Event::Saved(outcome) => self.saver.take(outcome, clock()),
                Event::Wished(Wish::Print) => self.print_knowledge(),
                Event::News(news) => self.take_news(news)?,
                Event::Asked(request) => self.answer(request),
                Event::Advised(word) => self.take_advice(word),
                Event::Sticky => self.read_sticky_file(),
                Event::Wished(Wish::Stop(signal)) => {
                    tracing::info!(signal, "stopping");
                    self.notifier.stopping("putting routes back");
                    return Ok(());
                }
            }
        }
    }

    /// What comes before probing: how the kernel is, and hooks where interfaces have come.
    async fn prepare(&mut self) -> anyhow::Result<()> {
        self.notifier.turn(clock());
        if clock() >= self.look_at && !self.lookout.is_under_way() {
            self.begin_look().await?;
        }
        self.hooks_due |= self.hooks.may_be_blind(&self.engine, clock());
        if self.hooks_due {
            self.hooks_due = self
                .hooks
                .follow(&mut self.engine, &mut self.transport, clock());
        }
        Ok(())
    }

    fn print_knowledge(&mut self) {
        let text = serde_json::to_string(&self.engine.knowledge())
            .expect("what is known has only string keys");
        self.printer.print(text);
    }

    fn probe(&mut self) {
        self.decided = probe(&mut self.engine, &mut self.transport);
    }
}

/// Lets the engine think and probe; returns when it had done so.
fn probe(engine: &mut Engine, transport: &mut Transport) -> Instant {
    let now = clock();
    engine.tell_time(time_of_day(), now);
    engine.run(now, transport);
    let decided = clock();
    engine.sent(decided);
    decided
}

/// What the next start should know.
fn memory_of(engine: &Engine, pins: &Pins) -> Memory {
    Memory {
        gateways: engine.known_gateways(),
        pinned: pins.remembered(engine),
        spending: engine.spending_hints(),
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
