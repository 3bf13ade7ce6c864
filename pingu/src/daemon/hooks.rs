//! The eBPF hooks follow the uplinks' interfaces as these come, go and change their numbers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{
    engine::{Engine, HookState},
    probe::kernel::KernelTransport,
    units::{Ifindex, UplinkId},
};

/// Hooks of a blind uplink are attached anew at most this often: attaching native XDP resets some network cards for seconds.
const REATTACH_EVERY: Duration = Duration::from_secs(30);

/// A socket whose interface was deleted and came back under the same number is opened anew after this long.
const REOPEN_EVERY: Duration = Duration::from_secs(1);

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
    tried: Instant,
}

impl Hooks {
    /// Attaches where an interface has come, detaches where one has gone, tries again where it failed or went blind, and tells
    /// the engine. Says whether there is more to do, which the next call does.
    pub(super) fn follow(
        &mut self,
        engine: &mut Engine,
        transport: &mut KernelTransport,
        now: Instant,
    ) -> bool {
        let mut wanted = engine.hooks_wanted();
        self.detach_unwanted(&wanted, transport);
        let blind: BTreeMap<UplinkId, Option<i32>> = engine.blind().collect();
        let standing: BTreeSet<UplinkId> = engine
            .rankings()
            .iter()
            .flat_map(|ranking| ranking.standing.iter().copied())
            .collect();
        // Uplinks that carry traffic first.
        wanted.sort_by_key(|(uplink, ..)| (!standing.contains(uplink), *uplink));
        let mut left = ATTACH_PER_TURN;
        for &(uplink, ifindex, bare) in &wanted {
            let hook = self.attached.get(&ifindex);
            if !hook.is_none_or(|hook| hook.is_due(blind.get(&uplink), now)) {
                continue;
            }
            if left == 0 {
                break;
            }
            left -= 1;
            let interface = &engine.config().uplinks[uplink.index()].interface;
            let state = attach(transport, interface, ifindex, bare);
            let tried = now;
            self.attached.insert(ifindex, Hook { bare, state, tried });
        }
        let on: BTreeMap<UplinkId, Ifindex> = wanted
            .iter()
            .map(|&(uplink, ifindex, _)| (uplink, ifindex))
            .collect();
        for index in 0..engine.config().uplinks.len() {
            let id = UplinkId(index as u16);
            let hook = on.get(&id).and_then(|ifindex| self.attached.get(ifindex));
            let state = hook.map_or(HookState::Detached, |hook| hook.state.clone());
            engine.set_hook(id, state);
        }
        left == 0
    }

    fn detach_unwanted(
        &mut self,
        wanted: &[(UplinkId, Ifindex, bool)],
        transport: &mut KernelTransport,
    ) {
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

impl Hook {
    /// Whether to attach anew: it failed, or probes over it vanish, or its socket's interface is not the one of that number any
    /// more. A full queue or an interface that is down is no fault of the hooks.
    fn is_due(&self, blind: Option<&Option<i32>>, now: Instant) -> bool {
        let every = match (&self.state, blind) {
            (_, Some(Some(libc::ENXIO | libc::ENODEV))) => REOPEN_EVERY,
            (HookState::Failed(_), _) | (_, Some(None)) => REATTACH_EVERY,
            _ => return false,
        };
        now >= self.tried + every
    }
}

fn attach(
    transport: &mut KernelTransport,
    interface: &str,
    ifindex: Ifindex,
    bare: bool,
) -> HookState {
    match transport.attach(ifindex, bare) {
        Ok(engine) => {
            if let Some(error) = transport.declined(ifindex) {
                tracing::warn!(interface, ?engine, %error, "native XDP is not to be had here, another hook serves");
            }
            tracing::info!(interface, ?engine, "hooks attached");
            HookState::Attached(engine)
        }
        Err(error) => {
            let error = anyhow::Error::new(error);
            tracing::warn!(
                interface,
                error = format!("{error:#}"),
                "hooks could not be attached"
            );
            HookState::Failed(format!("{error:#}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::test_clock, probe::EngineKind};

    #[test]
    fn only_what_new_hooks_can_cure_is_attached_anew() {
        let start = test_clock();
        let hook = |state| Hook {
            bare: false,
            state,
            tried: start,
        };
        let attached = hook(HookState::Attached(EngineKind::Tcx));
        let failed = hook(HookState::Failed("why".to_owned()));
        let gone = Some(&Some(libc::ENODEV));
        let (second, half_minute) = (start + REOPEN_EVERY, start + REATTACH_EVERY);
        assert!(!attached.is_due(gone, start) && attached.is_due(gone, second));
        assert!(!attached.is_due(Some(&None), second) && attached.is_due(Some(&None), half_minute));
        assert!(!failed.is_due(None, second) && failed.is_due(None, half_minute));
        for errno in [libc::ENOBUFS, libc::EAGAIN, libc::ENETDOWN] {
            assert!(!attached.is_due(Some(&Some(errno)), half_minute), "{errno}");
        }
        assert!(!attached.is_due(None, half_minute));
    }
}
