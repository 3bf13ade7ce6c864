//! What the loop says in its log of states and of what stands in the way.

use super::{Daemon, clock};

impl Daemon {
    /// Says once what stands in the way.
    pub(super) fn log_warnings(&mut self) {
        let warnings = self.engine.warnings();
        for warning in warnings.iter().filter(|new| !self.warnings.contains(new)) {
            tracing::warn!("{warning}");
        }
        self.warnings = warnings;
    }

    /// Whether there was something to log.
    pub(super) fn log_states(&mut self) -> bool {
        let mut changed = false;
        for (id, state, reason) in self.engine.changes() {
            let known = &mut self.states[id.index()];
            if *known != state {
                let uplink = &self.engine.config().uplinks[id.index()].name;
                tracing::info!(uplink, from = ?*known, to = ?state, reason, "uplink changed");
                let change = (id, std::mem::replace(known, state), state);
                self.commands.state_changed(&self.engine, change, clock());
                changed = true;
            }
        }
        changed
    }
}
