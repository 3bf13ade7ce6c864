//! Own routes: each kind added, found again by `ip`, added once more, replaced by one beside it, and deleted.

use pingu::{
    netlink::NetlinkError,
    network::{Change, NextHop, Route},
};

use crate::harness::{Lab, defaults, errno, ip, lab, over, via};

/// Somebody else's routes, around the metric that the tests use.
const FOREIGN: &str = "
    -4 route add default via 10.0.0.1 dev up0 proto dhcp src 10.0.0.2 metric 50
    -4 route add default via 10.1.0.1 dev up1 proto dhcp metric 200
    -4 route add default via 10.0.0.1 table 90 metric 100
    -6 route add default via 2001:db8::1 dev up0 proto ra metric 50 pref high
    -6 route add default via 2001:db8:1::1 dev up1 proto static metric 200";

/// Every kind of route that pingu makes, as the value and as `ip` shows it.
async fn kinds(lab: &mut Lab) -> Vec<(Route, &'static str)> {
    let (up0, tun0) = (lab.ifindex("up0").await, lab.ifindex("tun0").await);
    let sourced = Route {
        preferred_source: Some("10.0.0.2".parse().unwrap()),
        ..via("10.0.0.1", up0, 100)
    };
    let gateway = "192.0.2.1".parse().unwrap();
    let onlink = NextHop::Gateway {
        ifindex: up0,
        gateway,
        onlink: true,
    };
    let gateway = "2001:db8::1".parse().unwrap();
    let of_other_family = NextHop::Gateway {
        ifindex: up0,
        gateway,
        onlink: false,
    };
    vec![
        (
            via("10.0.0.1", up0, 100),
            "unicast default via 10.0.0.1 dev up0 proto 136 scope global metric 100",
        ),
        (
            sourced,
            "unicast default via 10.0.0.1 dev up0 proto 136 scope global src 10.0.0.2 metric 100",
        ),
        (
            Route {
                next_hop: onlink,
                ..over(false, up0, 100)
            },
            "unicast default via 192.0.2.1 dev up0 proto 136 scope global metric 100 onlink",
        ),
        (
            Route {
                next_hop: of_other_family,
                ..over(false, up0, 100)
            },
            "unicast default via inet6 2001:db8::1 dev up0 proto 136 scope global metric 100",
        ),
        (
            over(false, tun0, 100),
            "unicast default dev tun0 proto 136 scope link metric 100 linkdown",
        ),
        (
            via("2001:db8::1", up0, 100),
            "unicast default via 2001:db8::1 dev up0 proto 136 scope global metric 100 pref medium",
        ),
        (
            via("fe80::1", up0, 100),
            "unicast default via fe80::1 dev up0 proto 136 scope global metric 100 pref medium",
        ),
        (
            over(true, up0, 100),
            "unicast default dev up0 proto 136 scope global metric 100 pref medium",
        ),
    ]
}

fn put_foreign() -> Vec<String> {
    for line in FOREIGN.trim().lines() {
        ip(line);
    }
    defaults()
}

/// The default routes that were not there before.
fn added(before: &[String]) -> Vec<String> {
    let now = defaults();
    for line in before {
        assert!(now.contains(line), "{line} is gone");
    }
    now.into_iter()
        .filter(|line| !before.contains(line))
        .collect()
}

#[test]
fn every_kind_of_own_route_is_added_and_deleted_and_leaves_others_alone() {
    lab(async |mut lab| {
        let foreign = put_foreign();
        for (route, line) in kinds(&mut lab).await {
            for _ in 0..2 {
                lab.apply(Change::Add(route.clone())).await.unwrap();
                assert_eq!(added(&foreign), [line]);
            }
            let seen = lab.route(route.ipv6(), 100).await;
            assert_eq!(
                Route {
                    wire: Vec::new(),
                    ..seen.clone()
                },
                route
            );
            // Deleted as it was asked for, and as it was seen.
            lab.apply(Change::Delete(route.clone())).await.unwrap();
            assert_eq!(defaults(), foreign);
            lab.apply(Change::Delete(route.clone())).await.unwrap();
            lab.apply(Change::Add(route.clone())).await.unwrap();
            lab.apply(Change::Delete(seen)).await.unwrap();
            assert_eq!(defaults(), foreign);
        }
    });
}

#[test]
fn a_route_beside_another_takes_its_place_without_a_gap() {
    lab(async |mut lab| {
        let foreign = put_foreign();
        let kinds = kinds(&mut lab).await;
        for (old, _) in &kinds {
            for (new, line) in kinds
                .iter()
                .filter(|(new, _)| new.ipv6() == old.ipv6() && new != old)
            {
                lab.apply(Change::Add(old.clone())).await.unwrap();
                lab.apply(Change::AddBeside(new.clone())).await.unwrap();
                lab.apply(Change::AddBeside(new.clone())).await.unwrap();
                lab.apply(Change::Delete(old.clone())).await.unwrap();
                assert_eq!(added(&foreign), [*line], "{old:?} then {new:?}");
                lab.apply(Change::Delete(new.clone())).await.unwrap();
                assert_eq!(defaults(), foreign);
            }
        }
    });
}

/// In a dump, IPv6 gateways of one metric are one route: what a stop between the two steps leaves behind.
#[test]
fn a_change_of_gateway_that_was_interrupted_is_seen_and_finished() {
    lab(async |mut lab| {
        let foreign = put_foreign();
        let up0 = lab.ifindex("up0").await;
        let (old, new) = (via("2001:db8::1", up0, 100), via("fe80::1", up0, 100));
        for gone in [&old, &new] {
            lab.apply(Change::Add(old.clone())).await.unwrap();
            lab.apply(Change::AddBeside(new.clone())).await.unwrap();
            let mut seen = lab.look().await.routes;
            seen.retain(|route| route.metric.0 == 100);
            assert_eq!(seen, [old.clone(), new.clone()]);
            let stays = if *gone == old { &new } else { &old };
            lab.apply(Change::Add(stays.clone())).await.unwrap();
            lab.apply(Change::Delete(gone.clone())).await.unwrap();
            let left = lab.route(true, 100).await;
            assert_eq!(left.next_hop, stays.next_hop);
            lab.apply(Change::Delete(left)).await.unwrap();
            assert_eq!(defaults(), foreign);
        }
    });
}

/// The kernel shows both under the first one's protocol.
#[test]
fn a_foreign_gateway_appended_to_an_own_route_is_never_deleted() {
    lab(async |mut lab| {
        let up0 = lab.ifindex("up0").await;
        let (own, other) = (via("2001:db8::1", up0, 100), via("fe80::1", up0, 100));
        lab.apply(Change::Add(own.clone())).await.unwrap();
        ip("-6 route append default via fe80::1 dev up0 metric 100 proto static");
        let result = lab.apply(Change::Delete(other)).await;
        assert_eq!(errno(&result), libc::ESRCH);
        lab.apply(Change::Delete(own)).await.unwrap();
        let line =
            "unicast default via fe80::1 dev up0 proto static scope global metric 100 pref medium";
        assert_eq!(defaults(), [line]);
    });
}

#[test]
fn the_place_of_another_route_is_refused() {
    lab(async |mut lab| {
        let foreign = put_foreign();
        let up0 = lab.ifindex("up0").await;
        for gateway in ["10.0.0.1", "2001:db8::1"] {
            for metric in [50, 200] {
                let route = via(gateway, up0, metric);
                let result = lab.apply(Change::Add(route.clone())).await;
                assert_eq!(errno(&result), libc::EEXIST);
                let result = lab.apply(Change::AddBeside(route)).await;
                assert_eq!(errno(&result), libc::EEXIST);
                assert_eq!(defaults(), foreign);
            }
        }
    });
}

#[test]
fn an_own_route_that_differs_is_no_success() {
    lab(async |mut lab| {
        let up0 = lab.ifindex("up0").await;
        for (there, wanted) in [("10.0.0.1", "10.0.0.7"), ("2001:db8::1", "2001:db8::7")] {
            lab.apply(Change::Add(via(there, up0, 100))).await.unwrap();
            let result = lab.apply(Change::Add(via(wanted, up0, 100))).await;
            assert_eq!(errno(&result), libc::EEXIST);
        }
    });
}

#[test]
fn only_own_routes_are_added_and_deleted() {
    lab(async |mut lab| {
        let foreign = put_foreign();
        for metric in [50, 200] {
            let route = lab.route(false, metric).await;
            for change in [Change::Add, Change::AddBeside, Change::Delete] {
                let result = lab.apply(change(route.clone())).await;
                assert_ne!(errno(&result), 0);
            }
        }
        assert_eq!(defaults(), foreign);
    });
}

#[test]
fn a_refusal_repeats_the_kernels_own_words() {
    lab(async |mut lab| {
        let up0 = lab.ifindex("up0").await;
        let result = lab.apply(Change::Add(via("192.0.2.1", up0, 100))).await;
        let Err(NetlinkError::Refused { hint, source, .. }) = &result else {
            panic!("{result:?}");
        };
        assert_eq!(source.raw_os_error(), Some(libc::ENETUNREACH));
        assert_eq!(hint.as_deref(), Some("Nexthop has invalid gateway"));
        assert_eq!(
            result.unwrap_err().to_string(),
            format!(
                "adding default via 192.0.2.1 dev #{up0} proto 136 metric 100: Network is unreachable (os error 101) \
                 (Nexthop has invalid gateway)"
            )
        );
    });
}

#[test]
fn a_route_whose_device_is_gone_counts_as_deleted() {
    lab(async |mut lab| {
        let (up1, tun0) = (lab.ifindex("up1").await, lab.ifindex("tun0").await);
        let routes = [
            via("10.1.0.1", up1, 100),
            over(false, tun0, 101),
            via("2001:db8:1::1", up1, 100),
        ];
        for route in &routes {
            lab.apply(Change::Add(route.clone())).await.unwrap();
        }
        ip("link del up1");
        ip("link del tun0");
        assert_eq!(defaults(), [""; 0]);
        for route in routes {
            lab.apply(Change::Delete(route)).await.unwrap();
        }
    });
}

/// Whoever flushes a table takes the connected networks along; the addresses stand, and so does the gateway.
#[test]
fn a_gateway_whose_network_was_flushed_takes_a_route_that_declares_it_reachable() {
    lab(async |mut lab| {
        let up0 = lab.ifindex("up0").await;
        ip("-4 route flush table main");
        ip("-6 route flush table main");
        for gateway in ["10.0.0.1", "2001:db8::1"] {
            let change = Change::Add(via(gateway, up0, 88));
            let refused = lab.apply(change.clone()).await.unwrap_err();
            assert!(refused.is_unreachable(), "{refused}");
            let onlink = change.onlink().unwrap();
            lab.apply(onlink.clone()).await.unwrap();
            assert_eq!(onlink.onlink(), None);
            let found = lab.route(gateway.contains(':'), 88).await;
            assert!(found.next_hop.leads_as(&via(gateway, up0, 88).next_hop));
            lab.apply(Change::Delete(found)).await.unwrap();
        }
        assert_eq!(lab.look().await.routes, []);
    });
}
