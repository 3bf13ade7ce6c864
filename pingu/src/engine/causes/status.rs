//! Causes as they are published.

use std::time::{Instant, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Causes, words};
use crate::{engine::CauseKind, network::Link};

/// One cause of what was not answered on a path, since the daemon started. The counts of all but `duplicate` and `forged` add up to lost +
/// late + `not_sent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseStatus {
    /// What kind of cause.
    pub cause: CauseKind,
    /// What tells it from others of its kind: who reported what, an interface, an error of the kernel; null where there is nothing, "other"
    /// for those beyond the sixteen that a path tells apart.
    pub detail: Option<String>,
    /// How many probes; packets for `duplicate` and `forged`.
    pub count: u64,
    /// When last (RFC 3339, UTC).
    pub last: String,
}

/// The causes of a path, the commonest first. `own` is the name of the interface that its probes leave by.
pub(crate) fn statuses(
    causes: &Causes,
    (links, own): (&[Link], &str),
    (now, wall): (Instant, SystemTime),
) -> Vec<CauseStatus> {
    let counted = causes.list().iter().filter(|cause| cause.count > 0);
    let mut statuses: Vec<CauseStatus> = counted
        .map(|cause| CauseStatus {
            cause: cause.kind,
            detail: words::detail(cause, (links, own)),
            count: cause.count,
            last: time_of(cause.last, (now, wall)),
        })
        .collect();
    statuses.sort_by_key(|status| std::cmp::Reverse(status.count));
    statuses
}

/// The time of day at an instant.
pub(crate) fn time_of(then: Instant, (now, wall): (Instant, SystemTime)) -> String {
    let at = wall - now.saturating_duration_since(then);
    Timestamp::try_from(at).map_or_else(|_| "unknown".to_owned(), |at| format!("{at:.3}"))
}
