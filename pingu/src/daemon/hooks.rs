//! The eBPF hooks follow the uplinks' interfaces as these come, go and change their numbers.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::{Duration, Instant},
};

use crate::{
    config::{EngineChoice, ProbeConfig, ProbeMode},
    engine::{Engine, HookState},
    probe::{
        EngineKind,
        kernel::AttachError,
        transport::{
            Served, Transport,
            beside::{Begun, Made, Outcomes},
        },
    },
    units::{Ifindex, UplinkId},
};

/// Hooks of a blind uplink are attached anew at most this often: attaching native XDP resets some network cards for seconds.
const REATTACH_EVERY: Duration = Duration::from_secs(30);

/// A socket whose interface was deleted and came back under the same number is opened anew after this long.
const REOPEN_EVERY: Duration = Duration::from_secs(1);

/// How often the loop asks whether hooks are blind: it goes through all paths.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Where sockets took over, hooks are tried again this often: at worst that costs two bursts which say nothing.
const RETRY_HOOKS_EVERY: Duration = Duration::from_secs(600);

/// However short the bursts are.
const PATIENCE_MIN: Duration = Duration::from_secs(1);

/// Why sockets took over.
const BLIND: &str = "probes vanish before the egress hook";
const BYPASSED: &str = "replies reach the interface, but not the ingress hook";

/// Replies that a hook misses while it is watched, before it counts as blind.
const MISSED_MIN: u32 = 2;

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

#[derive(Debug)]
struct Hook {
    bare: bool,
    state: HookState,
    /// Why sockets serve it.
    reason: Option<String>,
    tried: Instant,
    /// Some burst since then said something.
    saw: bool,
    /// Since when probes have been seen to vanish.
    blind_since: Option<Instant>,
    /// When hooks are tried again where sockets serve.
    retry_at: Instant,
    /// It is watched whether they miss replies.
    watched: bool,
    /// Hooks are being attached; until these stand it is what it was, or not served.
    is_under_way: bool,
}

/// What to do about an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Attach hooks, or sockets where there are none to be had.
    Attach,
    /// Open the sockets anew.
    Reopen,
    /// Give the hooks up for a while: requests do not pass them, or replies.
    GiveUp(&'static str),
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
        engine: &Engine,
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
            let hook = on.get(&id).and_then(|ifindex| self.attached.get(ifindex));
            let state = hook.map_or(HookState::Detached, |hook| hook.state.clone());
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

/// Does it. Whoever saw for a while may see again soon.
fn take(
    step: Step,
    before: Option<Hook>,
    interface: &str,
    (ifindex, bare): (Ifindex, bool),
    transport: &mut Transport,
    now: Instant,
) -> Hook {
    let saw = before.as_ref().is_some_and(|hook| hook.saw);
    let retry_at = match step {
        Step::GiveUp(BLIND) if saw => now + REATTACH_EVERY,
        Step::GiveUp(_) | Step::Attach | Step::Reopen => now + RETRY_HOOKS_EVERY,
    };
    let retry_before = before.as_ref().map(|hook| hook.retry_at);
    let reason = before.as_ref().and_then(|hook| hook.reason.clone());
    let (served, retry_at) = match step {
        Step::Attach => match transport.begin(ifindex, bare) {
            Begun::Over(served) => (served, retry_at),
            Begun::UnderWay => return Hook::under_way(before, bare, now),
        },
        Step::Reopen => (
            transport.attach_sockets(ifindex, bare, reason.unwrap_or_default()),
            retry_before.unwrap_or(retry_at),
        ),
        Step::GiveUp(reason) => (
            transport.attach_sockets(ifindex, bare, reason.to_owned()),
            retry_at,
        ),
    };
    let mut hook = Hook::new(interface, bare, served, transport.declined(ifindex), now);
    hook.retry_at = retry_at;
    if let (Some(before), Step::Attach) = (&before, step) {
        hook.watch_after(before, ifindex, transport);
    }
    hook
}

impl Hook {
    fn new(
        interface: &str,
        bare: bool,
        served: Result<Served, AttachError>,
        declined: Option<&io::Error>,
        now: Instant,
    ) -> Self {
        let (state, reason) = match served {
            Ok(Served { engine, reason }) => {
                if let Some(error) = declined {
                    tracing::warn!(interface, ?engine, %error, "native XDP is not to be had here, another hook serves");
                }
                tracing::info!(interface, ?engine, reason, "attached");
                (HookState::Attached(engine), reason)
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                tracing::warn!(interface, error, "hooks could not be attached");
                (HookState::Failed(error), None)
            }
        };
        Self {
            bare,
            state,
            reason,
            tried: now,
            saw: false,
            blind_since: None,
            retry_at: now,
            watched: false,
            is_under_way: false,
        }
    }

    /// Hooks are about to be attached: sockets serve on, and a failure lasts, until it is known what became of that.
    fn under_way(before: Option<Self>, bare: bool, now: Instant) -> Self {
        let (state, reason) = match before.map(|hook| (hook.state, hook.reason)) {
            Some((HookState::Attached(EngineKind::Socket), reason)) => {
                (HookState::Attached(EngineKind::Socket), reason)
            }
            Some((HookState::Failed(error), reason)) => (HookState::Failed(error), reason),
            Some((HookState::Attached(_) | HookState::Detached, _)) | None => {
                (HookState::Detached, None)
            }
        };
        Self {
            bare,
            state,
            reason,
            tried: now,
            saw: false,
            blind_since: None,
            retry_at: now,
            watched: false,
            is_under_way: true,
        }
    }

    /// Hooks that took over from sockets have to prove that they miss nothing.
    fn watch_after(&mut self, before: &Self, ifindex: Ifindex, transport: &mut Transport) {
        if before.state == HookState::Attached(EngineKind::Socket) {
            transport.watch(ifindex, self.bare);
            self.watched = true;
        }
    }

    /// Takes in what the last bursts say of it.
    fn note(&mut self, blind: Option<&Option<i32>>, saw: bool, now: Instant) {
        self.saw |= saw;
        self.blind_since = match blind {
            Some(None) => Some(self.blind_since.unwrap_or(now)),
            Some(Some(_)) | None => None,
        };
    }

    /// Watches the hooks while nothing comes back over them, and since they took over from sockets until they have seen something. Says
    /// what to do if they miss replies.
    fn watch(
        &mut self,
        is_silent: bool,
        ifindex: Ifindex,
        transport: &mut Transport,
    ) -> Option<Step> {
        let by_sockets = self.state == HookState::Attached(EngineKind::Socket);
        if is_silent && !self.watched && !by_sockets {
            transport.watch(ifindex, self.bare);
            self.watched = true;
        }
        let missed = transport.missed(ifindex).unwrap_or(0);
        if missed >= MISSED_MIN {
            return Some(Step::GiveUp(BYPASSED));
        }
        if self.watched && !is_silent && self.saw && missed == 0 {
            transport.unwatch(ifindex);
            self.watched = false;
        }
        None
    }

    /// What to do: hooks failed, or probes over them vanish, or a socket's interface is not the one of that number any more. A full
    /// queue or an interface that is down is no fault of theirs. `patience` is how long hooks may be blind before sockets take over;
    /// none if these may not.
    fn step(
        &self,
        blind: Option<&Option<i32>>,
        patience: Option<Duration>,
        now: Instant,
    ) -> Option<Step> {
        let since = now.saturating_duration_since(self.tried);
        let by_sockets = self.state == HookState::Attached(EngineKind::Socket);
        let again = if by_sockets {
            Step::Reopen
        } else {
            Step::Attach
        };
        if let Some(Some(libc::ENXIO | libc::ENODEV)) = blind {
            return (since >= REOPEN_EVERY).then_some(again);
        }
        if let HookState::Failed(_) = self.state {
            return (since >= REATTACH_EVERY).then_some(Step::Attach);
        }
        if by_sockets && patience.is_some() && now >= self.retry_at {
            return Some(Step::Attach);
        }
        let blind_since = self.blind_since?.max(self.tried);
        let (Some(patience), false) = (patience, by_sockets) else {
            return (since >= REATTACH_EVERY).then_some(again);
        };
        if now < blind_since + patience {
            None
        } else if self.saw && since >= REATTACH_EVERY {
            Some(Step::Attach)
        } else {
            Some(Step::GiveUp(BLIND))
        }
    }
}

/// How long probes may vanish before sockets take over: two bursts from their beginnings to their ends.
fn patience(probe: &ProbeConfig) -> Duration {
    let burst = match &probe.mode {
        ProbeMode::Burst(burst) => burst.spacing * u32::from(burst.count),
        ProbeMode::Rolling(rolling) => rolling.interval,
    };
    (2 * (probe.mode.period() + burst + probe.timeout)).max(PATIENCE_MIN)
}

#[cfg(test)]
mod tests;
