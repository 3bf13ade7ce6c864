//! The eBPF hooks follow the uplinks' interfaces as these come, go and change their numbers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use crate::{
    engine::{Engine, HookState},
    probe::kernel::KernelTransport,
    units::Ifindex,
};

/// Hooks of a blind uplink are attached anew at most this often: attaching native XDP resets some network cards for seconds.
const REATTACH_EVERY: Duration = Duration::from_secs(30);

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
    /// the engine.
    pub(super) fn follow(
        &mut self,
        engine: &mut Engine,
        transport: &mut KernelTransport,
        now: Instant,
    ) {
        let wanted = engine.hooks_wanted();
        let blind: BTreeSet<_> = engine.blind().collect();
        let still_wanted = |ifindex: Ifindex, bare: bool| {
            wanted.iter().any(|&(_, i, b)| (i, b) == (ifindex, bare))
        };
        self.attached.retain(|&ifindex, hook| {
            let keep = still_wanted(ifindex, hook.bare);
            if !keep {
                transport.detach(ifindex);
            }
            keep
        });
        for &(uplink, ifindex, bare) in &wanted {
            let stale = self.attached.get(&ifindex).is_some_and(|hook| {
                let suspect = blind.contains(&uplink) || matches!(hook.state, HookState::Failed(_));
                suspect && now >= hook.tried + REATTACH_EVERY
            });
            if stale || !self.attached.contains_key(&ifindex) {
                let state = attach(transport, ifindex, bare);
                self.attached.insert(
                    ifindex,
                    Hook {
                        bare,
                        state,
                        tried: now,
                    },
                );
            }
        }
        for index in 0..engine.config().uplinks.len() {
            let id = crate::units::UplinkId(index as u16);
            let hook = wanted
                .iter()
                .find(|(uplink, ..)| *uplink == id)
                .and_then(|(_, ifindex, _)| self.attached.get(ifindex));
            engine.set_hook(
                id,
                hook.map_or(HookState::Detached, |hook| hook.state.clone()),
            );
        }
    }
}

fn attach(transport: &mut KernelTransport, ifindex: Ifindex, bare: bool) -> HookState {
    match transport.attach(ifindex, bare) {
        Ok(engine) => {
            if let Some(error) = transport.declined(ifindex) {
                tracing::warn!(%ifindex, ?engine, %error, "native XDP is not to be had here, another hook serves");
            }
            tracing::info!(%ifindex, ?engine, "hooks attached");
            HookState::Attached(engine)
        }
        Err(error) => {
            let error = anyhow::Error::new(error);
            tracing::warn!(%ifindex, error = format!("{error:#}"), "hooks could not be attached");
            HookState::Failed(format!("{error:#}"))
        }
    }
}
