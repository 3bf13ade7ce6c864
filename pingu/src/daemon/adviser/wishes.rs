//! Routes that a script wishes, and what is said of its faults.

use std::time::{Duration, Instant};

use super::Adviser;
use crate::{
    engine::ExtraRoute,
    script::{
        module::RouteOrder,
        vm::{Fault, ScriptError},
    },
};

/// Routes that a script may want at the same time.
const ROUTES_MAX: usize = 64;

/// The same fault is logged again after this.
const LOG_EVERY: Duration = Duration::from_secs(60);

impl Adviser {
    pub(super) fn take_route(&mut self, order: RouteOrder, now: Instant) {
        match order {
            RouteOrder::Add(route) => {
                let place = |route: &ExtraRoute| (route.table, route.destination, route.metric);
                self.routes.retain(|known| place(known) != place(&route));
                if self.routes.len() >= ROUTES_MAX {
                    let why = format!("pingu.route: a script may want {ROUTES_MAX} routes at once");
                    let error = ScriptError::new(Fault::Raised, &why);
                    self.note_fault("pingu.route", &error, now);
                    return;
                }
                self.routes.push(route);
            }
            delete => self.routes.retain(|route| !delete.deletes(route)),
        }
        self.is_due = true;
    }

    /// Shows a fault in the status, and logs it with its traceback if it was not logged lately.
    pub(super) fn note_fault(&mut self, function: &'static str, error: &ScriptError, now: Instant) {
        /// Different texts that are remembered; a script may make up ever new ones.
        const LOGGED_MAX: usize = 32;

        let file = self
            .options
            .as_ref()
            .map(|(options, _)| options.file.display().to_string());
        let file = file.unwrap_or_default();
        let shown = format!(
            "the script {file} fails in {function}, and pingu decides without it: {}",
            error.summary()
        );
        self.faults.insert(function, shown);
        self.logged.retain(|_, at| now < *at + LOG_EVERY);
        let kind = (function, format!("{:?}", error.fault));
        if !self.logged.contains_key(&kind) && self.logged.len() < LOGGED_MAX {
            self.logged.insert(kind, now);
            tracing::warn!(file, function, "the script failed: {error}");
        }
    }
}
