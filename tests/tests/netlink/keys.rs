//! A deletion names one route exactly: whatever resembles it stays.

use pingu::{
    network::{Change, Route},
    units::{Metric, Protocol},
};

use crate::harness::{defaults, ip, lab, over, via};

#[test]
fn a_deletion_never_hits_another_route_of_the_same_metric() {
    lab(async |mut lab| {
        let (up0, up1) = (lab.ifindex("up0").await, lab.ifindex("up1").await);
        // Same metric and gateway, another protocol; same metric and protocol, another device or gateway; none at all.
        let others = [
            "-4 route add default via 10.0.0.1 dev up0 metric 100 proto dhcp",
            "-4 route append default via 10.1.0.1 dev up1 metric 100 proto 136",
            "-4 route append default via 10.0.0.7 dev up0 metric 100 proto 136",
            "-4 route append default dev up0 scope link metric 100 proto dhcp",
            "-4 route add default via 10.0.0.1 dev up0 metric 101 proto 136",
            "-6 route add default via 2001:db8::1 dev up0 metric 100 proto ra",
            "-6 route add default via 2001:db8:1::1 dev up1 metric 101 proto 136",
            "-6 route add default via 2001:db8::7 dev up0 metric 102 proto 136",
            "-6 route add default dev up0 metric 103 proto ra",
        ];
        for line in others {
            ip(line);
        }
        let before = defaults();
        for route in [
            via("10.0.0.1", up0, 100),
            via("10.0.0.7", up1, 100),
            via("10.1.0.1", up0, 100),
            over(false, up0, 100),
            over(false, up1, 100),
            over(false, up0, 101),
            via("2001:db8::1", up0, 100),
            via("2001:db8::1", up0, 101),
            via("2001:db8:1::1", up0, 101),
            via("2001:db8::1", up0, 102),
            over(true, up0, 102),
            over(true, up0, 103),
            over(true, up1, 103),
        ] {
            lab.apply(Change::Delete(route.clone())).await.unwrap();
            assert_eq!(defaults(), before, "{route:?}");
        }
    });
}

#[test]
fn a_preferred_source_is_part_of_what_is_deleted() {
    lab(async |mut lab| {
        let up0 = lab.ifindex("up0").await;
        ip("addr add 10.0.0.3/24 dev up0");
        ip("route add default via 10.0.0.1 dev up0 metric 100 proto 136 src 10.0.0.3");
        let before = defaults();
        let source = Some("10.0.0.2".parse().unwrap());
        let route = Route {
            preferred_source: source,
            ..via("10.0.0.1", up0, 100)
        };
        lab.apply(Change::Delete(route)).await.unwrap();
        assert_eq!(defaults(), before);
    });
}

/// To the kernel a metric of 0 in a deletion means any.
#[test]
fn a_learned_route_of_metric_zero_is_taken_over_and_never_its_likes() {
    lab(async |mut lab| {
        let up0 = lab.ifindex("up0").await;
        ip("route add default via 10.0.0.1 dev up0 metric 100 proto dhcp");
        let before = defaults();
        ip("route add default via 10.0.0.1 dev up0 proto dhcp");
        let learned = lab.route(false, 0).await;
        for _ in 0..2 {
            lab.apply(Change::TakeOver(learned.clone())).await.unwrap();
            assert_eq!(defaults(), before);
        }
        let imagined = Route {
            protocol: Protocol(16),
            metric: Metric(0),
            ..via("10.0.0.1", up0, 0)
        };
        lab.apply(Change::TakeOver(imagined)).await.unwrap();
        assert_eq!(defaults(), before);
    });
}
