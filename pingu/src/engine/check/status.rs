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
    /// It fails over every uplink, so its far end is taken to be dead: it takes no uplink down until it succeeds over one.
    #[serde(default)]
    pub left_out: bool,
    /// What its last run cost, in bytes from the link header on; null before the first, and with programs, of which nobody knows.
    #[serde(default)]
    pub cost_bytes: Option<u64>,
    /// How long its last run took, in milliseconds; null before the first.
    pub took_ms: Option<f64>,
}

impl Checks {
    /// Far ends that are dead, for people, and checks that this machine cannot even run: they say nothing of their uplinks.
    pub(in crate::engine) fn warnings(&self) -> impl Iterator<Item = String> + '_ {
        let of = |check: &Check| {
            let (outcome, _) = check.verdicts.last()?;
            let failure = outcome.as_ref().err()?;
            let (name, uplink) = (&check.config.name, &check.uplink_name);
            let text = || format!("check {name} of {uplink} cannot be run: {failure}");
            (failure.cause == Cause::Local).then(text)
        };
        let dead = self
            .far_ends
            .iter()
            .filter_map(|far_end| far_end.warning(&self.list));
        self.list.iter().filter_map(of).chain(dead)
    }
}

impl Check {
    /// What its last run came to, for people.
    pub(in crate::engine) fn said(&self) -> String {
        let (name, text) = (&self.config.name, self.verdicts.text());
        if self.is_left_out() {
            format!(
                "check {name} fails over every uplink: its far end is taken to be dead ({text})"
            )
        } else {
            format!("check {name}: {text}")
        }
    }

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
            left_out: self.is_left_out(),
            cost_bytes: self.cost_bytes,
            took_ms: last.map(|(_, took)| took.as_secs_f64() * 1e3),
        }
    }
}
