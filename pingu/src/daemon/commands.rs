//! The `[[hook]]`s: the loop hands over what happens, and commands are run for it on a thread of their own. Nothing that a command does
//! or fails to do reaches the loop but its end.

use std::{
    collections::BTreeSet,
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::{
    runtime,
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
};

use crate::{
    config::{Config, HookEvent},
    daemon::{
        Daemon,
        commands::{
            facts::Facts,
            grace::Subject,
            hook::Hook,
            runner::{Runner, Shared},
        },
        time_of_day,
    },
    engine::{Engine, State, Status},
    units::{GroupId, UplinkId},
};

pub(super) use runner::Ran;

mod facts;
mod grace;
mod hook;
mod lines;
mod runner;

/// Each is a process, or several.
const RUNS_MAX: usize = 16;

/// What may wait for one hook, with few uplinks; with many each may go down and come up once.
const WAITING_MIN: usize = 64;
const WAITING_OF_UPLINK: usize = 2;

/// Ends of runs that wait for the loop; whoever has one waits for its place.
const ENDED_MAX: usize = 64;

/// An uplink that is down and not probed counts as bad this often.
const DOWN_EVERY: Duration = Duration::from_secs(1);

/// The hooks.
pub(super) struct Commands {
    hooks: Vec<Hook>,
    ended: mpsc::Receiver<Ran>,
    /// Keeps that one open where there is no hook.
    _sender: mpsc::Sender<Ran>,
    /// Dropped, it ends the runs.
    stop: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// The uplinks that traffic of each group was last seen to leave by.
    carriers: Option<Vec<Vec<UplinkId>>>,
    /// Of which look.
    looked: Option<Instant>,
    /// Uplinks that have gone down since they were last told to be bad.
    fallen: BTreeSet<UplinkId>,
    down_told: Option<Instant>,
}

impl Commands {
    /// Without any hook there is no thread.
    pub(super) fn start(config: &Config) -> io::Result<Self> {
        let (sender, ended) = mpsc::channel(ENDED_MAX);
        let (stop, stopped) = watch::channel(());
        let shared = Shared {
            stop: stopped,
            places: Arc::new(Semaphore::new(RUNS_MAX)),
            ended: sender.clone(),
        };
        let waiting = WAITING_MIN.max(WAITING_OF_UPLINK * config.uplinks.len());
        let mut hooks = Vec::with_capacity(config.hooks.len());
        let mut runners = Vec::with_capacity(config.hooks.len());
        for (place, hook) in config.hooks.iter().enumerate() {
            let config = Arc::new(hook.clone());
            let (queue, receiver) = mpsc::channel(waiting);
            runners.push(Runner {
                place,
                config: Arc::clone(&config),
                queue: receiver,
                shared: shared.clone(),
            });
            hooks.push(Hook::new(config, queue));
        }
        let thread = (!runners.is_empty()).then(|| start_thread(runners));
        Ok(Self {
            hooks,
            ended,
            _sender: sender,
            stop: Some(stop),
            thread: thread.transpose()?,
            carriers: None,
            looked: None,
            fallen: BTreeSet::new(),
            down_told: None,
        })
    }

    /// An uplink's state has changed.
    pub(super) fn state_changed(
        &mut self,
        engine: &Engine,
        (id, from, to): (UplinkId, State, State),
        now: Instant,
    ) {
        let event = match to {
            State::Up => HookEvent::Up,
            State::Down => HookEvent::Down,
            State::Unknown => return,
        };
        if to == State::Down {
            self.fallen.insert(id);
        } else {
            self.fallen.remove(&id);
        }
        self.happened_to(engine, id, (event, Some(from)), now);
    }

    /// Sees where traffic leaves, after a look at `looked`, and which uplinks are bad.
    pub(super) fn observe(&mut self, engine: &mut Engine, looked: Instant, now: Instant) {
        if self.hooks.is_empty() {
            return;
        }
        let mut bad: BTreeSet<UplinkId> = engine.bad_uplinks().into_iter().collect();
        bad.append(&mut self.fallen);
        for id in &bad {
            self.happened_to(engine, *id, (HookEvent::Bad, None), now);
        }
        self.tell_down(engine, now);
        if self.looked.replace(looked) != Some(looked) && self.waits_for(HookEvent::Switch) {
            self.see_carriers(engine, now);
        }
    }

    /// An uplink that is down without being probed stays bad: nobody judges it any more.
    fn tell_down(&mut self, engine: &Engine, now: Instant) {
        if self.next_telling(now).is_none_or(|at| at > now) {
            return;
        }
        self.down_told = Some(now);
        for index in 0..engine.config().uplinks.len() {
            let id = UplinkId(index as u16);
            if engine.state_of(id) != State::Down {
                continue;
            }
            let subject = Subject::Uplink(id);
            let is_due = |hook: &Hook| {
                is_limited(hook) && hook.is_about(&[id]) && hook.grace.allows(subject, now)
            };
            let due: Vec<usize> = (0..self.hooks.len())
                .filter(|place| is_due(&self.hooks[*place]))
                .collect();
            if !due.is_empty() {
                let facts = facts_of(engine, id, (HookEvent::Bad, None));
                for place in due {
                    self.hooks[place].take(subject, &facts, now);
                }
            }
        }
    }

    /// When uplinks that are down are told next, if anybody waits for it; the loop is not to be woken for it.
    pub(super) fn next_telling(&self, now: Instant) -> Option<Instant> {
        let next = self.down_told.map_or(now, |told| told + DOWN_EVERY);
        self.hooks.iter().any(is_limited).then_some(next)
    }

    fn waits_for(&self, event: HookEvent) -> bool {
        self.hooks.iter().any(|hook| hook.waits_for(event))
    }

    fn happened_to(
        &mut self,
        engine: &Engine,
        id: UplinkId,
        what: (HookEvent, Option<State>),
        now: Instant,
    ) {
        let mut facts = None;
        let concerned = |hook: &&mut Hook| hook.waits_for(what.0) && hook.is_about(&[id]);
        for hook in self.hooks.iter_mut().filter(concerned) {
            let facts = facts.get_or_insert_with(|| facts_of(engine, id, what));
            hook.take(Subject::Uplink(id), facts, now);
        }
    }

    /// Tells the groups whose traffic has moved. The first look only tells where it is.
    fn see_carriers(&mut self, engine: &Engine, now: Instant) {
        let Some(seen) = engine.carriers() else {
            return;
        };
        let Some(before) = self.carriers.replace(seen.clone()) else {
            return;
        };
        for (index, (from, to)) in before.iter().zip(&seen).enumerate() {
            if from != to {
                self.switched(engine, GroupId(index as u16), (from, to), now);
            }
        }
    }

    fn switched(
        &mut self,
        engine: &Engine,
        group: GroupId,
        (from, to): (&[UplinkId], &[UplinkId]),
        now: Instant,
    ) {
        let uplinks = &engine.config().uplinks;
        let names = |ids: &[UplinkId]| {
            let names = ids.iter().map(|id| uplinks[id.index()].name.as_str());
            names.collect::<Vec<&str>>()
        };
        let facts = Facts::of_switch(
            engine.config().groups[group.index()].name.clone(),
            (names(from), names(to)),
            to.first().map(|id| engine.facts(*id)),
            stamp(),
        );
        let both = [from, to].concat();
        for hook in &mut self.hooks {
            if hook.waits_for(HookEvent::Switch) && hook.is_about(&both) {
                hook.take(Subject::Group(group), &facts, now);
            }
        }
    }

    /// Whether a run may ever end.
    pub(super) fn any(&self) -> bool {
        self.thread.is_some()
    }

    /// The next run that has ended.
    pub(super) async fn next(&mut self) -> Ran {
        let ran = self.ended.recv().await;
        ran.expect("this holds a sender itself")
    }

    /// Takes what a run came to.
    pub(super) fn take(&mut self, ran: Ran) {
        self.hooks[ran.hook].ended(ran);
    }

    /// Adds the hooks to the status.
    pub(super) fn amend(&self, status: &mut Status) {
        status.hooks = self.hooks.iter().map(Hook::status).collect();
    }

    /// What is running ends soon, and nothing more is run.
    pub(super) fn stop(&mut self) {
        self.stop = None;
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        self.stop();
        // Nothing outlives pingu.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Daemon {
    /// Hands over what happened in this turn.
    pub(super) fn command(&mut self, now: Instant) {
        self.commands.observe(&mut self.engine, self.last_look, now);
    }
}

/// Told of a bad uplink again and again, it takes only some of it.
fn is_limited(hook: &Hook) -> bool {
    hook.waits_for(HookEvent::Bad) && hook.grace.is_limited()
}

fn facts_of(
    engine: &Engine,
    id: UplinkId,
    (event, previous): (HookEvent, Option<State>),
) -> Arc<Facts> {
    Facts::of_uplink(event, engine.facts(id), previous, stamp())
}

/// The time of day for people (RFC 3339, UTC).
fn stamp() -> String {
    jiff::Timestamp::try_from(time_of_day())
        .map_or_else(|_| "unknown".to_owned(), |at| format!("{at:.3}"))
}

fn start_thread(runners: Vec<Runner>) -> io::Result<JoinHandle<()>> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let work = async move {
        let mut all = JoinSet::new();
        for runner in runners {
            all.spawn(runner.work());
        }
        while all.join_next().await.is_some() {}
    };
    thread::Builder::new()
        .name("hooks".to_owned())
        .spawn(move || runtime.block_on(work))
}
