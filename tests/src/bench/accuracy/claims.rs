//! What peers say of their probes, read from what they print.

use std::time::SystemTime;

use crate::lab::capture::Exchange;

/// What a prober says: which of its probes took how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Claim {
    pub(super) probe: Probe,
    pub(super) rtt_us: f64,
}

/// How a prober names its probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// By its ICMP sequence number.
    Sequence(u16),
    /// By its place among all.
    Place(usize),
    /// It does not: it was the last or the last but one that was answered by this time of day, in nanoseconds.
    Before(u64),
}

/// Lines of ping and oping: `... icmp_seq=7 ... time=2.12 ms`.
pub(super) fn by_sequence(output: &str) -> Vec<Claim> {
    let read = |line: &str| {
        let sequence: u32 = word_after(line, "icmp_seq=")?.parse().ok()?;
        let rtt_ms: f64 = word_after(line, "time=")?.parse().ok()?;
        Some(Claim {
            probe: Probe::Sequence(sequence as u16),
            rtt_us: rtt_ms * 1e3,
        })
    };
    output.lines().filter_map(read).collect()
}

/// Lines of fping: `8.8.8.8 : [7], 64 bytes, 2.12 ms (2.10 avg, 0% loss)`.
pub(super) fn by_place(output: &str) -> Vec<Claim> {
    let read = |line: &str| {
        let place = line.split_once(": [")?.1.split_once(']')?.0.parse().ok()?;
        let rtt = line.split_once(" bytes, ")?.1.split_once(" ms")?.0;
        Some(Claim {
            probe: Probe::Place(place),
            rtt_us: rtt.parse::<f64>().ok()? * 1e3,
        })
    };
    output.lines().filter_map(read).collect()
}

/// A line of dpinger's, which averages over the last probe alone: `2120 0 0`, microseconds; zeroes while that is on its way.
pub(super) fn latest(line: &str, read_at: SystemTime) -> Option<Claim> {
    let rtt_us: f64 = line.split_whitespace().next()?.parse().ok()?;
    let since = read_at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (rtt_us > 0.0).then_some(Claim {
        probe: Probe::Before(since.as_nanos() as u64),
        rtt_us,
    })
}

/// How far each claim is from what was captured, in microseconds, without those of probes that the capture cannot tell of. Where a claim
/// may be about one of two probes, it is taken to be about the one that it fits; each probe counts once.
pub(super) fn errors_us(claims: &[Claim], captured: &[Exchange]) -> Vec<f64> {
    let mut told = vec![false; captured.len()];
    let mut errors = Vec::new();
    for claim in claims {
        let off = |place: &usize| {
            let rtt = captured[*place].rtt()?;
            Some((claim.rtt_us - rtt.as_nanos() as f64 / 1e3).abs())
        };
        let place = match claim.probe {
            Probe::Sequence(sequence) => captured
                .iter()
                .position(|exchange| exchange.sequence == sequence),
            Probe::Place(place) => Some(place).filter(|place| *place < captured.len()),
            Probe::Before(read_ns) => {
                let answered = (0..captured.len()).rev().filter(|place| {
                    let reply_ns = captured[*place].reply_ns;
                    reply_ns.is_some_and(|reply_ns| reply_ns <= read_ns)
                });
                let fits = |a: &usize, b: &usize| off(a).partial_cmp(&off(b)).expect("numbers");
                answered.take(2).min_by(fits)
            }
        };
        let Some(place) = place.filter(|place| !told[*place]) else {
            continue;
        };
        if let Some(error) = off(&place) {
            told[place] = true;
            errors.push(error);
        }
    }
    errors
}

fn word_after<'a>(line: &'a str, label: &str) -> Option<&'a str> {
    line.split_once(label)?.1.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_peers_print_is_read() {
        let ping = "PING 8.8.8.8\n[1700000000.1] 64 bytes from 8.8.8.8: icmp_seq=7 ttl=63 time=2.12 ms\n--- statistics\n";
        let oping = "56 bytes from 8.8.8.8 (8.8.8.8): icmp_seq=7 ttl=63 time=2.12 ms\n";
        let claim = |probe| Claim {
            probe,
            rtt_us: 2120.0,
        };
        assert_eq!(by_sequence(ping), [claim(Probe::Sequence(7))]);
        assert_eq!(by_sequence(oping), [claim(Probe::Sequence(7))]);
        let fping = "8.8.8.8 : [7], 64 bytes, 2.12 ms (2.10 avg, 0% loss)\n8.8.8.8 : [8], timed out (2.1 avg, 1% loss)\n";
        assert_eq!(by_place(fping), [claim(Probe::Place(7))]);
        let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(9);
        assert_eq!(latest("2120 3 0", at), Some(claim(Probe::Before(9))));
        assert_eq!(latest("0 0 0", at), None);
    }

    fn exchange(sequence: u16, request_ns: u64, reply_ns: Option<u64>) -> Exchange {
        Exchange {
            source: [10, 0, 1, 2].into(),
            target: [8, 8, 8, 8].into(),
            ident: 1,
            sequence,
            request_ns,
            reply_ns,
        }
    }

    #[test]
    fn a_claim_is_held_against_its_own_probe() {
        let captured = [
            exchange(1, 0, Some(2_000_000)),
            exchange(2, 5_000_000, Some(7_100_000)),
            exchange(3, 10_000_000, None),
        ];
        let claim = |probe, rtt_us| Claim { probe, rtt_us };
        let claims = [
            claim(Probe::Sequence(2), 2_110.0),
            claim(Probe::Sequence(1), 1_990.0),
            claim(Probe::Sequence(3), 2_000.0),
            claim(Probe::Sequence(2), 9_000.0),
        ];
        assert_eq!(errors_us(&claims, &captured), [10.0, 10.0]);
        let claims = [claim(Probe::Place(1), 2_130.0), claim(Probe::Place(9), 1.0)];
        assert_eq!(errors_us(&claims, &captured), [30.0]);
        let claims = [
            claim(Probe::Before(7_200_000), 2_090.0),
            claim(Probe::Before(7_300_000), 2_090.0),
            claim(Probe::Before(1_000), 2_000.0),
        ];
        assert_eq!(errors_us(&claims, &captured), [10.0]);
    }
}
