//! Whose counters an interface's are.

use super::*;
use crate::{
    config::Config,
    engine::test_clock,
    network::{Address, Link, LinkLayer, Snapshot},
    probe::{ProbeOrder, SendResult, Stamps, Traffic},
    units::{Ifindex, SlotId},
};

/// Counts the same on every interface, and answers nothing.
struct Counters;

impl ProbeTransport for Counters {
    fn send(&mut self, orders: &[ProbeOrder], results: &mut Vec<SendResult>) {
        results.clear();
        results.resize(orders.len(), SendResult::Sent);
    }

    fn read(&self, _slot: SlotId) -> Stamps {
        Stamps {
            sent_ns: Some(1),
            received_ns: None,
        }
    }

    fn traffic(&self, _ifindex: Ifindex) -> Option<Traffic> {
        Some(Traffic::default())
    }
}

fn engine(second: &str) -> Engine {
    let text = format!(
        "[probe]\ntargets = [\"192.0.2.1\"]\n[[uplink]]\nname = \"a\"\ninterface = \"wan0\"\n\
         gateway = \"10.0.0.1\"\nsource = \"10.0.0.2\"\n\
         [[uplink]]\nname = \"b\"\ninterface = \"{second}\"\ngateway = \"10.0.0.9\"\nsource = \"10.0.0.3\"\n"
    );
    let (config, _) = Config::parse(&text, "test").unwrap();
    Engine::new(config, 7, test_clock())
}

fn snapshot() -> Snapshot {
    let link = |ifindex: u32, name: &str| Link {
        ifindex: Ifindex(ifindex),
        name: name.to_owned(),
        layer: LinkLayer::Ethernet([2; 6]),
        admin_up: true,
        carrier: true,
        is_port: false,
        mtu_bytes: 1500,
        alternative_names: Vec::new(),
    };
    let address = |ifindex: u32, last: u8| Address {
        ifindex: Ifindex(ifindex),
        address: [10, 0, 0, last].into(),
        prefix_len: 24,
        global: true,
        usable: true,
        secondary: false,
    };
    Snapshot {
        links: vec![link(2, "wan0"), link(3, "wan1")],
        addresses: vec![address(2, 2), address(2, 3), address(3, 3)],
        ..Snapshot::default()
    }
}

#[test]
fn traffic_tells_nothing_of_two_uplinks_on_one_interface() {
    for (second, expected) in [
        ("wan0", Some("it shares wan0 with another uplink")),
        ("wan1", None),
    ] {
        let mut engine = engine(second);
        let now = test_clock();
        engine.network(snapshot(), now);
        engine.run(now, &mut Counters);
        engine.sent(now);
        for id in [UplinkId(0), UplinkId(1)] {
            let status = engine.passive_status(id, now);
            assert_eq!(status.traffic.is_some(), expected.is_none());
            let why = status.traffic_unknown;
            assert!(why.is_none() || expected.is_some(), "{why:?}");
            if let (Some(why), Some(expected), UplinkId(0)) = (&why, expected, id) {
                assert_eq!(why, expected);
            }
        }
    }
}
