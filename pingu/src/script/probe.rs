//! What a script asks to be probed, and what it hears of it.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

/// How a script's probes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// eBPF or raw sockets; without it, the echo sockets that an unprivileged process may open.
    pub privileged: bool,
    /// The time from one probe of a path to its next.
    pub interval: Duration,
    /// A reply that takes longer is none.
    pub timeout: Duration,
}

/// What results are kept by: the same destination over two origins are two paths.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathKey {
    /// Whom to ask.
    pub destination: IpAddr,
    /// Where from.
    pub origin: Origin,
}

/// Where a probe leaves from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// As the kernel's routes say.
    Any,
    /// With this source address, by the way that the kernel's routes and rules give it.
    Source(IpAddr),
    /// By this interface and no other, with an address of its own.
    Interface(String),
}

/// What became of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whose it was.
    pub path: PathKey,
    /// The address that it left with, as far as that is known.
    pub source: Option<IpAddr>,
    /// When it was due.
    pub sent_at: Instant,
    /// Its round-trip time, or why there is none.
    pub result: Result<Duration, Loss>,
}

/// Why a probe was not answered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// No reply came within the timeout.
    NoReply,
    /// The kernel refused to send it, with the errno.
    NotSent(i32),
    /// No interface of that name, or it has no address of the destination's family.
    NoSource,
    /// The next hop did not answer ARP or neighbour discovery.
    NoNeighbour,
    /// An ICMP error that quotes it came: its type and code.
    Error {
        /// ICMP or ICMPv6 type.
        kind: u8,
        /// Its code.
        code: u8,
    },
}
