//! Whether the loop has anything to do for the engine beside probing.

use std::time::Instant;

use crate::engine::Engine;

impl Engine {
    /// Whether it has: states and bad uplinks to tell, neighbours to ask for, checks to begin or to end, switches to ask a script about.
    /// Routes are not among it: see [`Engine::revision`].
    pub fn has_errands(&self, now: Instant) -> bool {
        !self.changed.is_empty()
            // Neighbours behind which nothing answers are doubted in turns.
            || !self.silent.is_empty()
            || self.asking.is_due(now)
            || self.happenings.any()
            || self.checks.has_errands(now)
            || self.advice.has_questions()
    }
}
