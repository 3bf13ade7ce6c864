//! What happens in the demonstration, in words and as JSON.

use std::fmt;

use serde::Serialize;

/// Something that happened, and when, in seconds since the start.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Event {
    pub(super) at_s: f64,
    #[serde(flatten)]
    pub(super) what: What,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum What {
    /// The network stands and pingu has been started.
    Started,
    /// pingu changed its mind about an uplink.
    Uplink {
        name: String,
        state: String,
        reason: String,
    },
    /// The kernel's route to the Internet changed.
    Route { uplink: Option<String> },
    /// The story goes on.
    Act { act: &'static str },
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => write!(
                f,
                "router, two providers, Internet and LAN stand; pingu starts"
            ),
            Self::Uplink {
                name,
                state,
                reason,
            } => write!(f, "{name} is {state}: {reason}"),
            Self::Route { uplink: Some(name) } => write!(f, "the kernel's route leaves by {name}"),
            Self::Route { uplink: None } => write!(f, "the kernel has no route to the Internet"),
            Self::Act { act } => write!(f, "{act}"),
        }
    }
}

/// How it ended, in figures.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Summary {
    /// Always "summary".
    pub(super) event: &'static str,
    /// The kernel's route moved away and back, and packets followed.
    pub(super) ok: bool,
    /// What was missing, where something was.
    pub(super) failure: Option<String>,
    /// From the cut to the kernel's new route.
    pub(super) failover_ms: Option<f64>,
    /// From the repair to the kernel's old route.
    pub(super) failback_ms: Option<f64>,
    /// Packets of the LAN client in all.
    pub(super) lan_sent: u64,
    /// Those lost before the cut.
    pub(super) lan_lost_before: u64,
    /// Those lost from the cut to the repair.
    pub(super) lan_lost_failover: u64,
    /// Those lost since the repair.
    pub(super) lan_lost_failback: u64,
    /// All of it.
    pub(super) duration_s: f64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |ms: Option<f64>| {
            ms.map_or_else(|| "never".to_owned(), |ms| format!("{:.2} s", ms / 1000.0))
        };
        writeln!(f)?;
        writeln!(
            f,
            "  cut to new route       {:>8}   LAN packets lost {:>4}",
            time(self.failover_ms),
            self.lan_lost_failover
        )?;
        writeln!(
            f,
            "  repair to first choice {:>8}   LAN packets lost {:>4}",
            time(self.failback_ms),
            self.lan_lost_failback
        )?;
        writeln!(
            f,
            "  duration               {:>6.1} s   LAN packets sent {:>4}",
            self.duration_s, self.lan_sent
        )?;
        match &self.failure {
            None => writeln!(
                f,
                "  It failed over and back; the kernel's routes and the LAN's packets say so."
            ),
            Some(failure) => writeln!(f, "  FAILED: {failure}"),
        }
    }
}
