//! What the log says of uplinks and of what stands in their way.

use crate::daemon::{Daemon, clock};

impl Daemon {
    /// Says once what stands in the way.
    pub(super) fn log_warnings(&mut self) {
        let warnings = self.engine.warnings();
        for warning in warnings.iter().filter(|new| !self.warnings.contains(new)) {
            tracing::warn!("{warning}");
        }
        self.warnings = warnings;
    }

    /// Says which uplinks have changed, and how long ago that was decided: where routes are to be changed, the first is before a word is
    /// written.
    pub(super) fn log_states(&mut self) {
        for (id, state, reason) in self.engine.changes() {
            let known = &mut self.states[id.index()];
            if *known != state {
                let uplink = &self.engine.config().uplinks[id.index()].name;
                let us_ago = clock().saturating_duration_since(self.decided).as_micros() as u64;
                tracing::info!(uplink, from = ?*known, to = ?state, reason, us_ago, "uplink changed");
                let change = (id, std::mem::replace(known, state), state);
                self.commands.state_changed(&self.engine, change, clock());
                self.states_changed = true;
            }
        }
    }
}
