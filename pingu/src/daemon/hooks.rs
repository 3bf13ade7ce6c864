//! The eBPF hooks follow the uplinks' interfaces as these come, go and change their numbers.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::{
    config::EngineChoice,
    daemon::hooks::hook::{Hook, RETRY_HOOKS_EVERY, Step, patience, take},
    daemon::{Daemon, clock},
    engine::{Engine, HookState},
    probe::transport::{
        Transport,
        beside::{Made, Outcomes},
    },
    units::{Ifindex, UplinkId},
};

mod hook;

/// How often the loop asks whether hooks are blind: it goes through all paths.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Sockets are opened at once, which takes milliseconds an interface; after so many the loop has its turn.
const ATTACH_PER_TURN: usize = 2;

/// Which interfaces have hooks.
pub(super) struct Hooks {
    attached: BTreeMap<Ifindex, Hook>,
    /// Where it comes what attaching came to; none where there are no hooks to attach.
    outcomes: Option<Outcomes>,
    /// When it was last asked whether hooks are blind.
    checked: Option<Instant>,
}

impl Hooks {
    /// None yet; has them attached by a thread of their own.
    pub(super) fn new(transport: &mut Transport) -> io::Result<Self> {
        Ok(Self {
            attached: BTreeMap::new(),
            outcomes: transport.attach_beside()?,
            checked: None,
        })
    }

    /// What attaching came to, for [`Self::take`]; none if that will never be known. Safe to cancel.
    pub(super) async fn outcome(&mut self) -> Option<Made> {
        self.outcomes.as_mut()?.recv().await
    }

    /// Takes that. The engine is told by the next [`Self::follow`].
    pub(super) fn take(
        &mut self,
        made: Made,
        engine: &mut Engine,
        transport: &mut Transport,
        now: Instant,
    ) {
        let Some((ifindex, served)) = transport.finish(made) else {
            return;
        };
        let wanted = engine.hooks_wanted();
        let uplink = wanted.iter().find(|(_, wanted, _)| *wanted == ifindex);
        let (Some(&(uplink, _, bare)), Some(before)) = (uplink, self.attached.remove(&ifindex))
        else {
            transport.detach(ifindex);
            return;
        };
        let interface = &engine.config().uplinks[uplink.index()].interface;
        let mut hook = Hook::new(interface, bare, served, transport.declined(ifindex), now);
        hook.retry_at = now + RETRY_HOOKS_EVERY;
        hook.watch_after(&before, ifindex, transport);
        let is_new = before.state == HookState::Attaching;
        if is_new && matches!(hook.state, HookState::Attached(_)) {
            let by_it = wanted.iter().filter(|(_, wanted, _)| *wanted == ifindex);
            by_it.for_each(|(uplink, _, _)| engine.serves(*uplink, now));
        }
        self.attached.insert(ifindex, hook);
    }

    /// Attaches where an interface has come, detaches where one has gone, tries again where it failed or went blind, and tells
    /// the engine. Says whether there is more to do, which the next call does.
    pub(super) fn follow(
        &mut self,
        engine: &mut Engine,
        transport: &mut Transport,
        now: Instant,
    ) -> bool {
        let mut wanted = engine.hooks_wanted();
        self.detach_unwanted(&wanted, transport);
        let on: BTreeMap<UplinkId, Ifindex> = wanted
            .iter()
            .map(|&(uplink, ifindex, _)| (uplink, ifindex))
            .collect();
        // What a burst says that began before its hooks were attached is nothing against these.
        let is_fresh = |uplink: &UplinkId, began: Instant| {
            let hook = on
                .get(uplink)
                .and_then(|ifindex| self.attached.get(ifindex));
            hook.is_some_and(|hook| began >= hook.tried)
        };
        let blind: BTreeMap<UplinkId, Option<i32>> = engine
            .blind()
            .filter(|(uplink, _, began)| is_fresh(uplink, *began))
            .map(|(uplink, errno, _)| (uplink, errno))
            .collect();
        let standing: BTreeSet<UplinkId> = engine
            .rankings()
            .iter()
            .flat_map(|ranking| ranking.standing.iter().copied())
            .collect();
        // Those without any first, and of these and the others the ones that carry traffic.
        wanted.sort_by_key(|(uplink, ifindex, _)| {
            let is_served = self.attached.contains_key(ifindex);
            (is_served, !standing.contains(uplink), *uplink)
        });
        let may_fall_back =
            engine.config().engine == EngineChoice::Auto && transport.refusal().is_none();
        let silent: BTreeSet<UplinkId> = match may_fall_back {
            true => engine.silent().collect(),
            false => BTreeSet::new(),
        };
        let mut left = ATTACH_PER_TURN;
        for &(uplink, ifindex, bare) in &wanted {
            let config = &engine.config().uplinks[uplink.index()];
            let step = match self.attached.get_mut(&ifindex) {
                None => Some(Step::Attach),
                Some(hook) if hook.is_under_way => None,
                Some(hook) => {
                    let blind = blind.get(&uplink);
                    hook.note(blind, engine.saw_since(uplink, hook.tried), now);
                    let patience = may_fall_back.then(|| patience(&config.probe));
                    let missed = hook.watch(silent.contains(&uplink), ifindex, transport);
                    hook.step(blind, patience, now).or(missed)
                }
            };
            let Some(step) = step else {
                continue;
            };
            if left == 0 {
                break;
            }
            if step == Step::Attach && !transport.has_room() {
                // The next outcome calls again.
                continue;
            }
            let before = self.attached.remove(&ifindex);
            let interface = &config.interface;
            let hook = take(step, before, interface, (ifindex, bare), transport, now);
            left -= usize::from(!hook.is_under_way);
            self.attached.insert(ifindex, hook);
        }
        for index in 0..engine.config().uplinks.len() {
            let id = UplinkId(index as u16);
            let there = on.get(&id);
            let hook = there.and_then(|ifindex| self.attached.get(ifindex));
            let state = match (hook, there) {
                (Some(hook), _) => hook.state.clone(),
                (None, Some(_)) => HookState::Attaching,
                (None, None) => HookState::Detached,
            };
            engine.set_hook(id, state);
            engine.set_engine_reason(id, hook.and_then(|hook| hook.reason.clone()));
        }
        left == 0
    }

    /// When it is time to ask whether some are blind; nobody is to be woken for it.
    pub(super) fn next_check(&self, now: Instant) -> Instant {
        self.checked.map_or(now, |checked| checked + CHECK_EVERY)
    }

    /// Whether it is time to ask, and some hooks may be blind, or are watched.
    pub(super) fn may_be_blind(&mut self, engine: &Engine, now: Instant) -> bool {
        if self
            .checked
            .is_some_and(|checked| now < checked + CHECK_EVERY)
        {
            return false;
        }
        self.checked = Some(now);
        engine.blind().next().is_some()
            || engine.silent().next().is_some()
            || self.attached.values().any(|hook| hook.watched)
    }

    fn detach_unwanted(&mut self, wanted: &[(UplinkId, Ifindex, bool)], transport: &mut Transport) {
        let wanted: BTreeSet<(Ifindex, bool)> = wanted
            .iter()
            .map(|&(_, ifindex, bare)| (ifindex, bare))
            .collect();
        self.attached.retain(|&ifindex, hook| {
            let keep = wanted.contains(&(ifindex, hook.bare));
            if !keep {
                transport.detach(ifindex);
            }
            keep
        });
    }
}

impl Daemon {
    /// Takes what attaching came to; what there is to do next is done in this turn.
    pub(super) fn take_hooks(&mut self, made: Option<Made>) -> anyhow::Result<()> {
        let made = made.context("the thread that attaches hooks has ended")?;
        self.hooks
            .take(made, &mut self.engine, &mut self.transport, clock());
        self.hooks_due = true;
        Ok(())
    }
}
