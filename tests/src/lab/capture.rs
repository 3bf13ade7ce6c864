//! What tcpdump saw on an interface: every echo request, and its reply if one came.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use tempfile::TempDir;

use crate::lab::{namespace::Namespace, packet, process::Process};

/// tcpdump starts in a few milliseconds; on a busy machine in a few hundred.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// The first word of a capture file with nanoseconds, in the writer's byte order.
const PCAP_MAGIC_NS: u32 = 0xa1b2_3c4d;

const FILE_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;

/// `LINKTYPE_ETHERNET`.
const LINK_ETHERNET: u32 = 1;

/// A running capture.
pub struct Capture {
    tcpdump: Process,
    directory: TempDir,
}

/// An echo request that was seen, and its reply if one was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The request's source address.
    pub source: IpAddr,
    /// The request's destination.
    pub target: IpAddr,
    /// ICMP identifier.
    pub ident: u16,
    /// ICMP sequence number.
    pub sequence: u16,
    /// When the request passed, in nanoseconds of some clock.
    pub request_ns: u64,
    /// When the first reply passed, by the same clock.
    pub reply_ns: Option<u64>,
}

impl Exchange {
    /// From request to reply.
    pub fn rtt(&self) -> Option<Duration> {
        self.reply_ns
            .map(|reply_ns| Duration::from_nanos(reply_ns.saturating_sub(self.request_ns)))
    }
}

impl Capture {
    /// Starts to capture echoes of both families, and waits until the kernel hands them over.
    #[track_caller]
    pub fn start(namespace: &Namespace, interface: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let mut command = namespace.command("tcpdump");
        command.args(["-i", interface, "-n", "-Z", "root", "-s", "128"]);
        // A large buffer, so that nothing is dropped while the machine is busy.
        command.args([
            "--time-stamp-precision=nano",
            "--immediate-mode",
            "-U",
            "-B",
            "16384",
        ]);
        command
            .arg("-w")
            .arg(directory.path().join("echoes.pcap"))
            .args(["icmp", "or", "icmp6"]);
        let mut tcpdump = Process::spawn("tcpdump", command);
        tcpdump.wait_for_log("listening on", START_DEADLINE);
        Self { tcpdump, directory }
    }

    /// Stops and tells what was seen, in order of the requests.
    #[track_caller]
    pub fn finish(mut self) -> Vec<Exchange> {
        self.tcpdump.signal(libc::SIGTERM);
        self.tcpdump.wait(START_DEADLINE);
        let log = self.tcpdump.log();
        assert!(
            log.contains("\n0 packets dropped by kernel"),
            "the capture is not complete: {log}"
        );
        let bytes = std::fs::read(self.directory.path().join("echoes.pcap"))
            .expect("tcpdump has written its file");
        exchanges(&bytes)
    }
}

/// Pairs requests and replies of a capture file by (hosts, ident, sequence).
#[track_caller]
pub fn exchanges(file: &[u8]) -> Vec<Exchange> {
    let word = |at: usize| {
        u32::from_ne_bytes(
            file.get(at..at + 4)
                .expect("the capture file is cut short")
                .try_into()
                .expect("four bytes"),
        )
    };
    assert_eq!(
        word(0),
        PCAP_MAGIC_NS,
        "not a capture file with nanoseconds"
    );
    let link_bytes = if word(20) == LINK_ETHERNET {
        packet::ETHERNET_BYTES
    } else {
        0
    };
    let mut found: Vec<Exchange> = Vec::new();
    let mut awaited: BTreeMap<(IpAddr, IpAddr, u16, u16), usize> = BTreeMap::new();
    let mut at = FILE_HEADER_BYTES;
    while at + RECORD_HEADER_BYTES <= file.len() {
        let time_ns = u64::from(word(at)) * 1_000_000_000 + u64::from(word(at + 4));
        let captured_bytes = word(at + 8) as usize;
        at += RECORD_HEADER_BYTES;
        let frame = file
            .get(at..at + captured_bytes)
            .expect("the capture file is cut short");
        at += captured_bytes;
        let Some(echo) = frame.get(link_bytes..).and_then(packet::echo) else {
            continue;
        };
        if echo.reply {
            let key = (echo.destination, echo.source, echo.ident, echo.sequence);
            if let Some(index) = awaited.remove(&key) {
                found[index].reply_ns = Some(time_ns);
            }
        } else {
            let key = (echo.source, echo.destination, echo.ident, echo.sequence);
            awaited.insert(key, found.len());
            found.push(Exchange {
                source: echo.source,
                target: echo.destination,
                ident: echo.ident,
                sequence: echo.sequence,
                request_ns: time_ns,
                reply_ns: None,
            });
        }
    }
    found
}

/// The median by nearest rank; panics where there is none.
#[track_caller]
pub fn median(rtts: impl IntoIterator<Item = Duration>) -> Duration {
    let mut sorted: Vec<Duration> = rtts.into_iter().collect();
    sorted.sort_unstable();
    assert!(!sorted.is_empty(), "no median of nothing");
    sorted[sorted.len().div_ceil(2) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_nearest_rank() {
        assert_eq!(
            median([3, 1, 2].map(Duration::from_micros)),
            Duration::from_micros(2)
        );
        assert_eq!(
            median([4, 1, 2, 3].map(Duration::from_micros)),
            Duration::from_micros(2)
        );
    }
}
