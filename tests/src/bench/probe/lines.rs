//! The probers that pingu is measured beside, as anybody would run them.

use std::{net::Ipv4Addr, time::Duration};

use crate::bench::link::TARGETS;

/// fping sends to one target once a millisecond, so it needs some hundreds to show its speed.
pub(super) const FLOOD_TARGETS: u32 = 256;

/// The stand-in for dpinger, which nothing of its shape is cheaper than.
pub(super) const FLOOR: &str = "one process a target";
/// All of a thousand have begun by then, and none keeps another from it.
pub(super) const REST_OF_MANY: Duration = Duration::from_millis(2_500);

/// What the raw senders have to be told, since no gateway answers a whole Internet.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    /// The prober's own address of the link.
    pub(super) own: [u8; 6],
    /// The next hop's.
    pub(super) next: [u8; 6],
    /// The core that zmap shall use.
    pub(super) core: usize,
}

/// A peer and its command line.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) name: &'static str,
    /// More than one where it needs a process for each target.
    pub(super) commands: Vec<Vec<String>>,
}

/// As fast as they go.
pub(super) fn floods(wire: &Wire) -> Vec<Peer> {
    let one = words(&["ping", "-f", "10.78.0.0"]);
    let quiet = words(&["ping", "-f", "-q", "10.78.0.0"]);
    let mut oping = words(&["oping", "-i", "0.001"]);
    oping.extend(addresses(100));
    vec![
        peer("ping -f", one),
        peer("ping -f -q", quiet),
        peer("oping, 100 targets", oping),
        peer("masscan", masscan(wire, 10_000_000)),
        peer("zmap", zmap(wire, -1, "16")),
    ]
}

/// At so many probes a second to so many targets.
pub(super) fn paced(wire: &Wire, rate: u32, targets: u32) -> Vec<Peer> {
    let interval = f64::from(targets) / f64::from(rate);
    let interval_ms = (interval * 1e3).round().to_string();
    let mut oping = words(&["oping", "-i", &interval.to_string()]);
    oping.extend(addresses(targets));
    // As even as it can: its sending thread sleeps between two probes.
    let gap_ms = (1e3 / f64::from(rate)).to_string();
    let mut even = words(&["fping", "-q", "-l", "-i", &gap_ms, "-p", &interval_ms]);
    even.extend(addresses(targets));
    let mut rounds = words(&["fping", "-q", "-l", "-i", "0", "-p", &interval_ms]);
    rounds.extend(addresses(targets));
    vec![
        peer("fping, evenly", even),
        peer("fping, in rounds", rounds),
        peer("oping", oping),
        peer("masscan", masscan(wire, rate)),
        peer("zmap", zmap(wire, i64::from(rate), "1")),
    ]
}

/// One dpinger for each target. It averages over two probes and reports once an hour.
pub(super) fn dpingers(program: &str, rate: u32, targets: u32) -> Peer {
    let interval_ms = 1000 * targets / rate;
    let command = |address: String| {
        let (interval, window) = (interval_ms.to_string(), (2 * interval_ms).to_string());
        let options = [
            program, "-f", "-s", &interval, "-t", &window, "-r", "3600000", &address,
        ];
        words(&options)
    };
    Peer {
        name: "dpinger, one each",
        commands: addresses(targets).map(command).collect(),
    }
}

/// As cheap as dpinger's shape allows, a process for each target too.
pub(super) fn floor(program: &str, rate: u32, targets: u32) -> Peer {
    let interval_us = (1_000_000 * u64::from(targets) / u64::from(rate)).to_string();
    let rest_ms = REST_OF_MANY.as_millis().to_string();
    let command = |address: String| {
        words(&[
            program,
            "one-target",
            "--interval-us",
            &interval_us,
            "--rest-ms",
            &rest_ms,
            &address,
        ])
    };
    Peer {
        name: FLOOR,
        commands: addresses(targets).map(command).collect(),
    }
}

fn masscan(wire: &Wire, rate: u32) -> Vec<String> {
    let (own, next) = (mac(wire.own, "-"), mac(wire.next, "-"));
    let rate = rate.to_string();
    words(&[
        "masscan",
        "--ping",
        "10.78.0.0/16",
        "--infinite",
        "--adapter",
        "uplink0",
        "--adapter-ip",
        "10.77.0.1",
        "--adapter-mac",
        &own,
        "--router-mac",
        &next,
        "--rate",
        &rate,
        "-oL",
        "/dev/null",
    ])
}

/// It paces addresses, not probes, so that more than one for each would be more than was asked for.
fn zmap(wire: &Wire, rate: i64, probes_each: &str) -> Vec<String> {
    let (own, next, core) = (
        mac(wire.own, ":"),
        mac(wire.next, ":"),
        wire.core.to_string(),
    );
    let rate = rate.to_string();
    words(&[
        "zmap",
        "-M",
        "icmp_echoscan",
        "-C",
        "/dev/null",
        "-b",
        "/dev/null",
        "-r",
        &rate,
        "-P",
        probes_each,
        "-i",
        "uplink0",
        "-S",
        "10.77.0.1",
        "--source-mac",
        &own,
        "-G",
        &next,
        "-T",
        "1",
        "--cores",
        &core,
        "-q",
        "--disable-syslog",
        "-o",
        "/dev/null",
        "10.78.0.0/16",
    ])
}

fn peer(name: &'static str, command: Vec<String>) -> Peer {
    Peer {
        name,
        commands: vec![command],
    }
}

fn addresses(targets: u32) -> impl Iterator<Item = String> {
    (0..targets).map(|target| Ipv4Addr::from(TARGETS + target).to_string())
}

fn mac(address: [u8; 6], between: &str) -> String {
    address.map(|byte| format!("{byte:02x}")).join(between)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_shared_among_the_targets() {
        let wire = Wire {
            own: [2; 6],
            next: [4; 6],
            core: 1,
        };
        let peers = paced(&wire, 10_000, 1_000);
        let fping = peers[0].commands[0].join(" ");
        assert!(fping.starts_with("fping -q -l -i 0.1 -p 100 10.78.0.0 10.78.0.1 "));
        let dpingers = dpingers("dpinger", 10_000, 1_000);
        assert_eq!(dpingers.commands.len(), 1_000);
        assert_eq!(
            dpingers.commands[999].join(" "),
            "dpinger -f -s 100 -t 200 -r 3600000 10.78.3.231"
        );
        let floor = floor("bench", 10_000, 1_000);
        assert_eq!(floor.commands.len(), 1_000);
        assert_eq!(
            floor.commands[999].join(" "),
            "bench one-target --interval-us 100000 --rest-ms 2500 10.78.3.231"
        );
    }
}
