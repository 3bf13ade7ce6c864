//! What one run of a check came to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What one run came to.
pub type CheckOutcome = Result<String, Failure>;

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure.
    pub cause: Cause,
    /// For people.
    pub text: String,
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// No answer in time.
    Timeout,
    /// The connection was refused.
    Refused,
    /// The network, or a router on the way, says that it cannot be reached.
    Unreachable,
    /// The connection broke.
    Broken,
    /// TLS failed: a certificate that is not right, or no TLS at all.
    Tls,
    /// Somebody on the way answers in place of the one who was asked.
    Portal,
    /// The server answers with another status.
    Status,
    /// The server answers with another body.
    Body,
    /// The host's name could not be resolved.
    Resolve,
    /// There is no such name.
    Nxdomain,
    /// The resolver failed.
    Servfail,
    /// The resolver answers, but not what was asked for.
    Dns,
    /// The program failed.
    Exit,
    /// Large packets do not pass.
    Mtu,
    /// This machine could not try: it says nothing of the uplink.
    Local,
}

impl Failure {
    /// Pingu itself made a mistake.
    pub(crate) fn fault() -> Self {
        Self {
            cause: Cause::Local,
            text: "a fault of pingu's own: its log says more".to_owned(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
