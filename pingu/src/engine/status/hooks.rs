//! What is published of each hook.

use serde::{Deserialize, Serialize};

/// One `[[hook]]` since the daemon started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookStatus {
    /// Its name.
    pub name: String,
    /// What it waits for.
    pub on: Vec<String>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Runs that have ended.
    pub runs: u64,
    /// Those of them that failed: another exit status than 0, a signal, no program, no time.
    pub failures: u64,
    /// Those of them whose time was over.
    pub timeouts: u64,
    /// Events for which there was no room in the queue.
    pub dropped: u64,
    /// Events that came earlier than `at_most_every` allows.
    pub suppressed: u64,
    /// Events that wait for their run.
    pub waiting: u64,
    /// The run that ended last; null before the first.
    pub last: Option<HookRun>,
}

/// One run of a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRun {
    /// What it was run for.
    pub event: String,
    /// The uplink, or the group whose traffic left by none of them.
    pub subject: String,
    /// When that happened (RFC 3339, UTC).
    pub time: String,
    /// Exit status 0.
    pub good: bool,
    /// How it ended, for people.
    pub outcome: String,
    /// How long it took.
    pub took_ms: u64,
}
