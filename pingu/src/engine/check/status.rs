//! What is published of a check.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::engine::{
    State,
    check::{Cause, Check, Checks},
};

/// One check of an uplink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// Its name.
    pub name: String,
    /// What it tries: `tcp`, `http`, `https`, `dns`, `exec` or `mtu`.
    pub kind: String,
    /// Whether the uplink is down while it is.
    pub required: bool,
    /// Its state; unknown also while it cannot be run.
    pub state: State,
    /// Since when its runs have led to this state (RFC 3339, UTC).
    pub since: String,
    /// What its last run came to, for people; null before the first.
    pub last: Option<String>,
    /// Why its last run failed; null if it did not.
    pub cause: Option<Cause>,
    /// How long its last run took, in milliseconds; null before the first.
    pub took_ms: Option<f64>,
}

impl Checks {
    /// Checks that this machine cannot even run, for people: they say nothing of their uplinks.
    pub(in crate::engine) fn warnings(&self) -> impl Iterator<Item = String> + '_ {
        let of = |check: &Check| {
            let (outcome, _) = check.verdicts.last()?;
            let failure = outcome.as_ref().err()?;
            let (name, uplink) = (&check.config.name, &check.uplink_name);
            let text = || format!("check {name} of {uplink} cannot be run: {failure}");
            (failure.cause == Cause::Local).then(text)
        };
        self.list.iter().filter_map(of)
    }
}

impl Check {
    /// What is published of it; `time_of` is the time of day at an instant.
    pub(in crate::engine) fn status(&self, time_of: impl Fn(Instant) -> String) -> CheckStatus {
        let last = self.verdicts.last();
        let failure = last.and_then(|(outcome, _)| outcome.as_ref().err());
        CheckStatus {
            name: self.config.name.clone(),
            kind: self.config.kind.word().to_owned(),
            required: self.config.required,
            state: self.state(),
            since: time_of(self.verdicts.since()),
            last: last.map(|_| self.verdicts.text()),
            cause: failure.map(|failure| failure.cause),
            took_ms: last.map(|(_, took)| took.as_secs_f64() * 1e3),
        }
    }
}
