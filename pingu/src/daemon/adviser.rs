//! The script that advises, seen from the loop: what it is told and asked, what its words come to, and what becomes of one that hangs.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    config::ScriptConfig,
    control::Reply,
    daemon::{Daemon, clock},
    engine::{Engine, ExtraRoute, Status, UplinkView},
    script::{
        policy::{Policy, PolicyOptions, Wish, Word, abandoned},
        vm::{ScriptError, VmOptions},
    },
    units::UplinkId,
};

/// From one look at the uplinks to the next; a script that is asked more often learns nothing more.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Of so many uplinks that looking at them takes long, at most a fiftieth of the time is spent on it.
const TELL_SHARE: u32 = 50;

/// From one look at a call that is under way to the next.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// A call that used so much more than its processor time has not been stopped by its hook, and will not be.
const EXCEEDED_MAX: Duration = Duration::from_secs(1);

/// Nothing in a sandbox waits for anything, so a call that lasts so long, and ten times its processor time, hangs; a busy machine gives
/// the script's thread, which has the lowest priority, some of it all the same.
const LASTS_MAX: Duration = Duration::from_secs(60);

/// Pauses before a script whose thread was given up is started again; then no more, since each thread goes on for ever.
const RESTARTS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(600),
];

/// While a script fails its last order stands for so long: one bad call moves no traffic.
const LAST_ORDER: Duration = Duration::from_secs(60);

mod wishes;

/// The script, if there is one.
pub(super) struct Adviser {
    options: Option<(PolicyOptions, bool)>,
    policy: Option<Policy>,
    vetoes: bool,
    /// What it was told last, and when.
    told: Option<Vec<UplinkView>>,
    tell_at: Instant,
    /// The call under way that was seen last, and since when.
    seen: Option<(u64, Instant)>,
    watch_at: Instant,
    restarts: usize,
    restart_at: Option<Instant>,
    /// What `rank` said last, and what `prefer` did.
    order: Option<Vec<String>>,
    failing_since: Option<Instant>,
    preferred: Option<String>,
    routes: Vec<ExtraRoute>,
    pin: Option<Option<String>>,
    /// Something was wished since the engine was told last; it is told at most so often.
    is_due: bool,
    apply_at: Instant,
    /// What fails at present, by function, and when it was logged last.
    faults: BTreeMap<&'static str, String>,
    logged: BTreeMap<(&'static str, String), Instant>,
}

impl Adviser {
    pub(super) fn new(config: Option<&ScriptConfig>, now: Instant) -> anyhow::Result<Self> {
        let options = config.map(|script| {
            let text = script.read().map_err(anyhow::Error::msg)?;
            let vm = VmOptions {
                sandbox: script.sandbox,
                time_limit: script.time_limit,
                memory_limit: usize::try_from(script.memory_bytes).unwrap_or(usize::MAX),
                print: None,
            };
            let file = script.file.clone();
            let options = PolicyOptions {
                file,
                text,
                vm,
                clock,
            };
            anyhow::Ok((options, script.sandbox))
        });
        let options = options.transpose()?;
        Ok(Self {
            restart_at: options.is_some().then_some(now),
            options,
            policy: None,
            vetoes: false,
            told: None,
            tell_at: now,
            seen: None,
            watch_at: now,
            restarts: 0,
            order: None,
            failing_since: None,
            preferred: None,
            routes: Vec::new(),
            pin: None,
            is_due: false,
            apply_at: now,
            faults: BTreeMap::new(),
            logged: BTreeMap::new(),
        })
    }

    /// Whether a script may ever say something.
    pub(super) fn any(&self) -> bool {
        self.policy.is_some()
    }

    /// What the script says next; safe to cancel.
    pub(super) async fn next(&mut self) -> Option<Word> {
        match &mut self.policy {
            Some(policy) => policy.next().await,
            None => std::future::pending().await,
        }
    }

    /// When there is something to do.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        let watching = self.policy.as_ref().map(|_| self.watch_at);
        let telling = self.policy.as_ref().map(|_| self.tell_at);
        let applying = self.is_due.then_some(self.apply_at);
        let all = [
            watching,
            telling,
            applying,
            self.restart_at,
            self.order_ends(),
        ];
        all.into_iter().flatten().min()
    }

    /// Adds to the status what is wrong with the script.
    pub(super) fn amend(&self, status: &mut Status) {
        status.warnings.extend(self.faults.values().cloned());
    }

    fn order_ends(&self) -> Option<Instant> {
        self.failing_since.map(|since| since + LAST_ORDER)
    }

    /// Starts the script where that is due, tells and asks it, and gives it up where it hangs.
    pub(super) fn follow(&mut self, engine: &mut Engine, now: Instant) {
        if self.options.is_none() {
            return;
        }
        if self.restart_at.is_some_and(|at| at <= now) {
            self.restart_at = None;
            self.start(engine, now);
        }
        if self.order_ends().is_some_and(|ends| ends <= now) {
            self.failing_since = None;
            self.order = None;
            self.is_due = true;
        }
        if self.is_due && self.apply_at <= now {
            self.is_due = false;
            self.apply_at = now + TELL_EVERY;
            self.apply_order(engine, now);
            engine.advise_routes(self.routes.clone());
        }
        if self.policy.is_some() && self.watch_at <= now {
            self.watch(engine, now);
        }
        let Some(policy) = &self.policy else {
            return;
        };
        for (from, to) in engine.switches_asked() {
            let name = |id: UplinkId| engine.config().uplinks[id.index()].name.as_str();
            policy.ask(name(from), name(to));
        }
        if self.tell_at <= now {
            let views = engine.uplink_views();
            let took = clock().saturating_duration_since(now);
            self.tell_at = now + TELL_EVERY.max(took * TELL_SHARE);
            if self.told.as_ref() != Some(&views) {
                policy.tell(views.clone());
                self.told = Some(views);
            }
        }
    }

    fn start(&mut self, engine: &Engine, now: Instant) {
        let Some((options, _)) = &self.options else {
            return;
        };
        self.told = None;
        self.seen = None;
        self.watch_at = now + WATCH_EVERY;
        match Policy::start(options.clone(), engine.uplink_views()) {
            Ok(policy) => self.policy = Some(policy),
            Err(error) => self.give_up(&format!("cannot start a thread: {error}"), now),
        }
    }

    /// Whether the call under way will ever end.
    fn watch(&mut self, engine: &mut Engine, now: Instant) {
        self.watch_at = now + WATCH_EVERY;
        let (Some(policy), Some((options, sandbox))) = (&self.policy, &self.options) else {
            return;
        };
        let under_way = policy.call_under_way();
        let since = match (under_way, self.seen) {
            (Some(call), Some((seen, since))) if call == seen => since,
            _ => now,
        };
        self.seen = under_way.map(|call| (call, since));
        let exceeded = policy.exceeded_by().is_some_and(|by| by > EXCEEDED_MAX);
        let lasts_max = LASTS_MAX + options.vm.time_limit * 10;
        let hangs = *sandbox && now.saturating_duration_since(since) > lasts_max;
        if exceeded || hangs {
            self.policy = None;
            self.vetoes = false;
            engine.gate_switches(false, now);
            self.routes.clear();
            self.is_due = true;
            self.give_up(
                "a call did not end within its limit and could not be stopped",
                now,
            );
        }
    }

    /// The thread is left to itself.
    fn give_up(&mut self, why: &str, now: Instant) {
        let pause = RESTARTS.get(self.restarts).copied();
        self.restarts += 1;
        self.restart_at = pause.map(|pause| now + pause);
        let next = match pause {
            Some(pause) => format!("it is started again in {} s", pause.as_secs()),
            None => "it is not started again".to_owned(),
        };
        self.note_fault("the script", &abandoned(&format!("{why}; {next}")), now);
    }

    /// Takes what the script says.
    fn take(&mut self, word: Option<Word>, engine: &mut Engine, now: Instant) {
        match word {
            None => {
                self.policy = None;
                self.vetoes = false;
                engine.gate_switches(false, now);
            }
            Some(Word::Ready { ranks, vetoes }) => {
                let file = self
                    .options
                    .as_ref()
                    .map(|(options, _)| options.file.display().to_string());
                tracing::info!(file, ranks, vetoes, "the script runs");
                self.faults.remove("the script");
                self.vetoes = vetoes;
                engine.gate_switches(vetoes, now);
            }
            Some(Word::Order(order)) => {
                self.failing_since = None;
                self.faults.remove("rank");
                self.is_due |= self.order != order;
                self.order = order;
            }
            Some(Word::Veto { from, to, veto }) => {
                self.take_veto(engine, (&from, &to), veto, now);
            }
            Some(Word::TimerDone) => {
                self.faults.remove("a timer");
            }
            Some(Word::Failed(function, error)) => {
                if function == "rank" {
                    self.failing_since.get_or_insert(now);
                }
                self.note_fault(function, &error, now);
            }
            Some(Word::Wish(Wish::Prefer(name))) => {
                self.preferred = name;
                self.is_due = true;
            }
            Some(Word::Wish(Wish::Route(order))) => self.take_route(order, now),
            Some(Word::Wish(Wish::Pin(name))) => {
                self.pin = Some(name);
                self.is_due = true;
            }
        }
    }

    fn take_veto(
        &mut self,
        engine: &mut Engine,
        (from, to): (&str, &str),
        veto: Option<String>,
        now: Instant,
    ) {
        let names: Vec<&str> = engine
            .config()
            .uplinks
            .iter()
            .map(|uplink| uplink.name.as_str())
            .collect();
        let id = |name: &str| {
            let index = names.iter().position(|known| *known == name);
            index.map(|index| UplinkId(index as u16))
        };
        let Some(switch) = id(from).zip(id(to)) else {
            return;
        };
        match &veto {
            Some(reason) => tracing::debug!(from, to, reason, "the script vetoes a switch"),
            None => tracing::debug!(from, to, "the script allows a switch"),
        }
        engine.answer_switch(switch, veto, now);
    }

    /// The engine's order is what is preferred, then what `rank` said.
    fn apply_order(&mut self, engine: &mut Engine, now: Instant) {
        if self.order.is_none() && self.preferred.is_none() {
            engine.advise_order(None, now);
            return;
        }
        let places: BTreeMap<&str, UplinkId> = engine
            .config()
            .uplinks
            .iter()
            .enumerate()
            .map(|(index, uplink)| (uplink.name.as_str(), UplinkId(index as u16)))
            .collect();
        let ranked = self.order.iter().flatten();
        let mut order: Vec<UplinkId> = Vec::new();
        let mut unknown = None;
        for name in self.preferred.iter().chain(ranked) {
            match places.get(name.as_str()) {
                Some(id) if order.contains(id) => {}
                Some(id) => order.push(*id),
                None => unknown = Some(name.clone()),
            }
        }
        engine.advise_order(Some(&order), now);
        match unknown {
            Some(name) => {
                let why = format!("rank names {name:?}, which is no uplink; it is left out");
                self.note_fault(
                    "an unknown name",
                    &ScriptError::new(crate::script::vm::Fault::Raised, &why),
                    now,
                );
            }
            None => {
                self.faults.remove("an unknown name");
            }
        }
    }
}

impl Daemon {
    /// Lets the script know and say what there is.
    pub(super) fn follow_script(&mut self) {
        self.adviser.follow(&mut self.engine, clock());
        // A pin is noted for the next start, so it is written no more often than the rest is told.
        let is_told = !self.adviser.is_due;
        let Some(name) = self.adviser.pin.take_if(|_| is_told) else {
            return;
        };
        let uplinks = &self.engine.config().uplinks;
        let pinned = self.engine.pinned().map(|id| &uplinks[id.index()].name);
        if pinned != name.as_ref() {
            self.pin(name.as_deref(), Reply::unheard());
        }
    }

    /// Takes what the script says.
    pub(super) fn take_advice(&mut self, word: Option<Word>) {
        self.adviser.take(word, &mut self.engine, clock());
    }
}

#[cfg(test)]
mod tests;
