//! When a path wants to be looked at, and why.

use std::time::Instant;

/// What a path waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    /// Something is to be sent.
    pub(crate) send: Option<Instant>,
    /// Passing time alone may decide something then. A look at what has come back by then may make that one needless.
    pub(crate) deadline: Option<Instant>,
    /// Somebody waits for what comes back, whether or not it comes before a deadline.
    pub(crate) look: Option<Instant>,
}

impl Wants {
    /// Something is to be sent then.
    pub(crate) fn to_send(at: Instant) -> Self {
        Self {
            send: Some(at),
            ..Self::default()
        }
    }
}

/// The earlier of two, where there are two.
pub(crate) fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
