//! Answers that come after their probes were given up.

use super::*;
use crate::{
    config::Config,
    engine::{test_clock, way_out::Readiness},
    probe::{IcmpError, LinkHeader, Remarks, Stamps},
    units::Ifindex,
};

const TARGET: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9));

const TIMEOUT: Duration = Duration::from_millis(200);

/// A wire on which a router reports a probe as not delivered, which is answered after so long, once it is.
struct Wire {
    rtt: Option<Duration>,
}

impl ProbeTransport for Wire {
    fn send(&mut self, _orders: &[ProbeOrder], _results: &mut Vec<SendResult>) {
        unreachable!("the test sends")
    }

    fn read(&self, _slot: SlotId) -> Stamps {
        Stamps {
            sent_ns: Some(1),
            received_ns: self.rtt.map(|rtt| 1 + rtt.as_nanos() as u64),
        }
    }

    fn remarks(&self, _slot: SlotId) -> Remarks {
        let host_unreachable = IcmpError {
            from: IpAddr::from([192, 0, 2, 1]),
            kind: 3,
            code: 1,
        };
        Remarks {
            error: Some(host_unreachable),
            ..Remarks::default()
        }
    }
}

#[test]
fn an_answer_to_what_a_router_reported_as_lost_is_late_only_after_the_timeout() {
    let text = format!(
        "[probe]\ntargets = [\"{TARGET}\"]\ncount = 1\ntimeout = \"200ms\"\n[[uplink]]\nname = \"a\"\ninterface = \"wan0\"\n"
    );
    let (config, _) = Config::parse(&text, "f").unwrap_or_else(|problems| panic!("{problems}"));
    let (probe, health) = (&config.uplinks[0].probe, &config.uplinks[0].health);
    for (rtt, counted) in [
        (TIMEOUT / 10, [1, 0, 0]),
        (TIMEOUT, [1, 0, 0]),
        (TIMEOUT * 2, [0, 0, 1]),
    ] {
        let start = test_clock();
        let mut record = Record::new(0, slots_needed(probe));
        let ready = Readiness::Ready {
            ifindex: Ifindex(2),
            link: LinkHeader::Bare,
            source: TARGET,
        };
        record.set_readiness(ready, start);
        let mut bursts = Bursts::new(Phase(start));
        let mut orders = Vec::new();
        bursts.order(&mut record, (probe, TARGET), || 1, start, &mut orders);
        bursts.sent(&mut record, &[SendResult::Sent], TIMEOUT, start);

        let mut wire = Wire { rtt: None };
        let tally = |record: &Record| [record.tally.answered, record.tally.lost, record.tally.late];
        bursts.collect(&mut record, (probe, health), start + TIMEOUT / 20, &wire);
        assert_eq!(tally(&record), [0, 1, 0], "the router is believed first");

        wire.rtt = Some(rtt);
        bursts.collect(&mut record, (probe, health), start + rtt, &wire);
        assert_eq!(tally(&record), counted, "{rtt:?}");
        let causes = record.causes.list().iter();
        let counts: u64 = causes.map(|cause| cause.count).sum();
        assert_eq!(counts, counted[1] + counted[2], "{rtt:?}");
        let has_rtt = record.window.summary().is_some();
        assert_eq!(has_rtt, counted[0] > 0, "{rtt:?}");
    }
}
