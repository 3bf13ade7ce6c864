//! What serves one interface: when hooks are attached anew, and when sockets take their place.

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{
    config::{ProbeConfig, ProbeMode},
    engine::HookState,
    probe::{
        EngineKind,
        kernel::AttachError,
        transport::{Served, Transport, beside::Begun},
    },
    units::Ifindex,
};

/// Hooks of a blind uplink are attached anew at most this often: attaching native XDP resets some network cards for seconds.
const REATTACH_EVERY: Duration = Duration::from_secs(30);

/// A socket whose interface was deleted and came back under the same number is opened anew after this long.
const REOPEN_EVERY: Duration = Duration::from_secs(1);

/// Where sockets took over, hooks are tried again this often: at worst that costs two bursts which say nothing.
pub(super) const RETRY_HOOKS_EVERY: Duration = Duration::from_secs(600);

/// However short the bursts are.
const PATIENCE_MIN: Duration = Duration::from_secs(1);

/// Why sockets took over.
const BLIND: &str = "probes vanish before the egress hook";
const BYPASSED: &str = "replies reach the interface, but not the ingress hook";

/// Replies that a hook misses while it is watched, before it counts as blind.
const MISSED_MIN: u32 = 2;

#[derive(Debug)]
pub(super) struct Hook {
    pub(super) bare: bool,
    pub(super) state: HookState,
    /// Why sockets serve it.
    pub(super) reason: Option<String>,
    pub(super) tried: Instant,
    /// Some burst since then said something.
    pub(super) saw: bool,
    /// Since when probes have been seen to vanish.
    blind_since: Option<Instant>,
    /// When hooks are tried again where sockets serve.
    pub(super) retry_at: Instant,
    /// It is watched whether they miss replies.
    pub(super) watched: bool,
    /// Hooks are being attached; until these stand it is what it was, or not served.
    pub(super) is_under_way: bool,
}

/// What to do about an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Attach hooks, or sockets where there are none to be had.
    Attach,
    /// Open the sockets anew.
    Reopen,
    /// Give the hooks up for a while: requests do not pass them, or replies.
    GiveUp(&'static str),
}

/// Does it. Whoever saw for a while may see again soon.
pub(super) fn take(
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
    pub(super) fn new(
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
        Self::tried(bare, state, reason, now)
    }

    fn tried(bare: bool, state: HookState, reason: Option<String>, now: Instant) -> Self {
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
            Some((HookState::Attached(_) | HookState::Attaching | HookState::Detached, _))
            | None => (HookState::Attaching, None),
        };
        Self {
            is_under_way: true,
            ..Self::tried(bare, state, reason, now)
        }
    }

    /// Hooks that took over from sockets have to prove that they miss nothing.
    pub(super) fn watch_after(
        &mut self,
        before: &Self,
        ifindex: Ifindex,
        transport: &mut Transport,
    ) {
        if before.state == HookState::Attached(EngineKind::Socket) {
            transport.watch(ifindex, self.bare);
            self.watched = true;
        }
    }

    /// Takes in what the last bursts say of it.
    pub(super) fn note(&mut self, blind: Option<&Option<i32>>, saw: bool, now: Instant) {
        self.saw |= saw;
        self.blind_since = match blind {
            Some(None) => Some(self.blind_since.unwrap_or(now)),
            Some(Some(_)) | None => None,
        };
    }

    /// Watches the hooks while nothing comes back over them, and since they took over from sockets until they have seen something. Says
    /// what to do if they miss replies.
    pub(super) fn watch(
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
    pub(super) fn step(
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
pub(super) fn patience(probe: &ProbeConfig) -> Duration {
    let burst = match &probe.mode {
        ProbeMode::Burst(burst) => burst.spacing * u32::from(burst.count),
        ProbeMode::Rolling(rolling) => rolling.interval,
    };
    (2 * (probe.mode.period() + burst + probe.timeout)).max(PATIENCE_MIN)
}

#[cfg(test)]
mod tests;
