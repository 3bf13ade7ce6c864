//! The eBPF hooks follow the uplinks' interfaces as these come, go and change their numbers.

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use crate::{
    config::{EngineChoice, ProbeConfig, ProbeMode},
    engine::{Engine, HookState},
    probe::{
        EngineKind,
        kernel::AttachError,
        transport::{Served, Transport},
    },
    units::{Ifindex, UplinkId},
};

/// Hooks of a blind uplink are attached anew at most this often: attaching native XDP resets some network cards for seconds.
const REATTACH_EVERY: Duration = Duration::from_secs(30);

/// A socket whose interface was deleted and came back under the same number is opened anew after this long.
const REOPEN_EVERY: Duration = Duration::from_secs(1);

/// Where sockets took over, hooks are tried again this often: at worst that costs two bursts which say nothing.
const RETRY_HOOKS_EVERY: Duration = Duration::from_secs(600);

/// However short the bursts are.
const PATIENCE_MIN: Duration = Duration::from_secs(1);

/// Why sockets took over.
const BLIND: &str = "probes vanish before the egress hook";

/// Attaching takes some 25 ms an interface; after so many the loop has its turn.
const ATTACH_PER_TURN: usize = 2;

/// Which interfaces have hooks.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    attached: BTreeMap<Ifindex, Hook>,
}

#[derive(Debug)]
struct Hook {
    bare: bool,
    state: HookState,
    /// Why sockets serve it.
    reason: Option<String>,
    tried: Instant,
}

/// What to do about an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Attach hooks, or sockets where there are none to be had.
    Attach,
    /// Open the sockets anew.
    Reopen,
    /// Give the hooks up for a while.
    GiveUp,
}

impl Hooks {
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
        let blind: BTreeMap<UplinkId, Option<i32>> = engine.blind().collect();
        let standing: Vec<UplinkId> = engine
            .rankings()
            .iter()
            .flat_map(|ranking| ranking.standing.iter().copied())
            .collect();
        // Uplinks that carry traffic first.
        wanted.sort_by_key(|(uplink, ..)| (!standing.contains(uplink), *uplink));
        let may_fall_back =
            engine.config().engine == EngineChoice::Auto && transport.refusal().is_none();
        let mut left = ATTACH_PER_TURN;
        for &(uplink, ifindex, bare) in &wanted {
            let config = &engine.config().uplinks[uplink.index()];
            let step = match self.attached.get(&ifindex) {
                None => Some(Step::Attach),
                Some(hook) => {
                    let patience = may_fall_back.then(|| patience(&config.probe));
                    hook.step(blind.get(&uplink), patience, now)
                }
            };
            let Some(step) = step else {
                continue;
            };
            if left == 0 {
                break;
            }
            left -= 1;
            let before = self.attached.get(&ifindex);
            let before = before.and_then(|hook| hook.reason.clone());
            let served = match step {
                Step::Attach => transport.attach(ifindex, bare),
                Step::Reopen => transport.attach_sockets(ifindex, bare, before.unwrap_or_default()),
                Step::GiveUp => transport.attach_sockets(ifindex, bare, BLIND.to_owned()),
            };
            let declined = transport.declined(ifindex);
            let hook = Hook::new(&config.interface, bare, served, declined, now);
            self.attached.insert(ifindex, hook);
        }
        for index in 0..engine.config().uplinks.len() {
            let id = UplinkId(index as u16);
            let hook = wanted
                .iter()
                .find(|(uplink, ..)| *uplink == id)
                .and_then(|(_, ifindex, _)| self.attached.get(ifindex));
            let state = hook.map_or(HookState::Detached, |hook| hook.state.clone());
            engine.set_hook(id, state);
            engine.set_engine_reason(id, hook.and_then(|hook| hook.reason.clone()));
        }
        left == 0
    }

    fn detach_unwanted(&mut self, wanted: &[(UplinkId, Ifindex, bool)], transport: &mut Transport) {
        self.attached.retain(|&ifindex, hook| {
            let keep = wanted
                .iter()
                .any(|&(_, i, bare)| (i, bare) == (ifindex, hook.bare));
            if !keep {
                transport.detach(ifindex);
            }
            keep
        });
    }
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
        }
    }

    /// What to do: hooks failed, or probes over them vanish, or a socket's interface is not the one of that number any more. A full
    /// queue or an interface that is down is no fault of theirs. `patience` is how long hooks may be blind after they were attached;
    /// none if nothing else may serve.
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
        match (&self.state, blind) {
            (_, Some(Some(libc::ENXIO | libc::ENODEV))) => (since >= REOPEN_EVERY).then_some(again),
            (HookState::Failed(_), _) => (since >= REATTACH_EVERY).then_some(Step::Attach),
            (_, Some(None)) if since >= REATTACH_EVERY => Some(again),
            (_, Some(None)) if !by_sockets => patience
                .filter(|patience| since >= *patience)
                .map(|_| Step::GiveUp),
            _ if by_sockets && patience.is_some() && since >= RETRY_HOOKS_EVERY => {
                Some(Step::Attach)
            }
            _ => None,
        }
    }
}

/// How long probes may vanish after hooks were attached: two bursts from their beginnings to their ends.
fn patience(probe: &ProbeConfig) -> Duration {
    let burst = match &probe.mode {
        ProbeMode::Burst(burst) => burst.spacing * u32::from(burst.count),
        ProbeMode::Rolling(rolling) => rolling.interval,
    };
    (2 * (probe.mode.period() + burst + probe.timeout)).max(PATIENCE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::test_clock;

    const PATIENCE: Option<Duration> = Some(Duration::from_secs(3));
    const VANISHED: Option<&Option<i32>> = Some(&None);
    const GONE: Option<&Option<i32>> = Some(&Some(libc::ENODEV));

    fn hook(state: HookState) -> Hook {
        Hook {
            bare: false,
            state,
            reason: None,
            tried: test_clock(),
        }
    }

    #[test]
    fn only_what_new_hooks_can_cure_is_attached_anew() {
        let attached = hook(HookState::Attached(EngineKind::Tcx));
        let failed = hook(HookState::Failed("why".to_owned()));
        let step = |hook: &Hook, blind, after| hook.step(blind, None, hook.tried + after);
        let (second, half_minute) = (REOPEN_EVERY, REATTACH_EVERY);
        assert_eq!(step(&attached, GONE, Duration::ZERO), None);
        assert_eq!(step(&attached, GONE, second), Some(Step::Attach));
        assert_eq!(step(&attached, VANISHED, second), None);
        assert_eq!(step(&attached, VANISHED, half_minute), Some(Step::Attach));
        assert_eq!(step(&failed, None, second), None);
        assert_eq!(step(&failed, None, half_minute), Some(Step::Attach));
        for errno in [libc::ENOBUFS, libc::EAGAIN, libc::ENETDOWN] {
            let blind = Some(errno);
            assert_eq!(
                attached.step(Some(&blind), None, attached.tried + half_minute),
                None,
                "{errno}"
            );
        }
        assert_eq!(step(&attached, None, RETRY_HOOKS_EVERY), None);
    }

    #[test]
    fn hooks_that_stay_blind_after_they_were_attached_yield_to_sockets_and_are_tried_again_later() {
        let attached = hook(HookState::Attached(EngineKind::Tcx));
        let step = |hook: &Hook, blind, after| hook.step(blind, PATIENCE, hook.tried + after);
        let (second, patience) = (REOPEN_EVERY, PATIENCE.unwrap());
        assert_eq!(
            step(&attached, VANISHED, second),
            None,
            "one burst may be an accident"
        );
        assert_eq!(step(&attached, VANISHED, patience), Some(Step::GiveUp));
        assert_eq!(
            step(&attached, VANISHED, REATTACH_EVERY),
            Some(Step::Attach),
            "they saw for a while, so new ones may see again"
        );
        assert_eq!(step(&attached, None, patience), None);
        let sockets = hook(HookState::Attached(EngineKind::Socket));
        assert_eq!(step(&sockets, None, REATTACH_EVERY), None);
        assert_eq!(step(&sockets, GONE, second), Some(Step::Reopen));
        assert_eq!(step(&sockets, VANISHED, REATTACH_EVERY), Some(Step::Reopen));
        assert_eq!(step(&sockets, None, RETRY_HOOKS_EVERY), Some(Step::Attach));
        assert_eq!(
            sockets.step(None, None, sockets.tried + RETRY_HOOKS_EVERY),
            None
        );
    }
}
