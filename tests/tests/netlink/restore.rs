//! Adopt mode's promise: a route that was taken over can be put back, to the letter.

use pingu::network::{Change, NextHop};

use crate::harness::{DEADLINE, defaults, errno, ip, lab, via};

/// What DHCP clients, networkd, NetworkManager, pppd and the kernel's router advertisements make of a default route.
const LEARNED: [&str; 11] = [
    "-4 route add default via 10.0.0.1 dev up0 proto dhcp src 10.0.0.2 metric 100",
    "-4 route add default via 10.0.0.1 dev up0",
    "-4 route add default via 10.0.0.1 dev up0 proto dhcp metric 100 mtu 1400 advmss 1360 initcwnd 20",
    "-4 route add default via 192.0.2.1 dev up0 proto static metric 100 onlink",
    "-4 route add default dev tun0 scope link metric 100 proto boot",
    "-4 route add default dev tun0 scope global metric 100 proto kernel",
    "-4 route add default via inet6 2001:db8::1 dev up0 proto ra metric 100 mtu lock 1300",
    "-6 route add default via 2001:db8::1 dev up0 proto ra metric 1024 pref high mtu 1480 hoplimit 64",
    "-6 route add default via fe80::1 dev up0 proto ra metric 600 pref low",
    "-6 route add default via fe80::1 dev up0 proto dhcp metric 600 src 2001:db8::2 onlink",
    "-6 route add default dev up0 proto static metric 600",
];

#[test]
fn a_learned_route_returns_to_the_letter() {
    lab(async |mut lab| {
        ip("-4 route add default via 10.1.0.1 dev up1 proto dhcp metric 7000");
        ip("-6 route add default via 2001:db8:1::1 dev up1 proto ra metric 7000");
        let others = defaults();
        for line in LEARNED {
            ip(line);
            let with = defaults();
            let routes = lab.look().await.routes;
            let learned = routes.iter().find(|route| route.metric.0 != 7000).unwrap();
            assert!(!matches!(learned.next_hop, NextHop::Other(_)), "{line}");

            lab.apply(Change::TakeOver(learned.clone())).await.unwrap();
            assert_eq!(defaults(), others, "{line}");
            lab.apply(Change::TakeOver(learned.clone())).await.unwrap();

            for _ in 0..2 {
                lab.apply(Change::Restore(learned.clone())).await.unwrap();
                assert_eq!(defaults(), with, "{line}");
            }
            assert_eq!(lab.look().await.routes, routes);
            lab.apply(Change::TakeOver(learned.clone())).await.unwrap();
        }
    });
}

#[test]
fn a_route_remembered_without_carrier_returns_all_the_same() {
    lab(async |mut lab| {
        let line = "-4 route add default via 10.0.0.1 dev up0 proto dhcp metric 100";
        ip(line);
        let with = defaults();
        lab.peer.ip("link set peer0 down").unwrap();
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while !defaults()[0].contains("linkdown") {
            assert!(tokio::time::Instant::now() < deadline);
        }
        let learned = lab.route(false, 100).await;
        lab.apply(Change::TakeOver(learned.clone())).await.unwrap();
        lab.apply(Change::Restore(learned)).await.unwrap();
        assert_eq!(
            defaults()[0]
                .split(" dead")
                .next()
                .unwrap()
                .replace(" linkdown", ""),
            with[0]
        );
    });
}

#[test]
fn nothing_is_restored_over_another_route() {
    lab(async |mut lab| {
        ip("route add default via 10.0.0.1 dev up0 proto dhcp metric 100");
        let learned = lab.route(false, 100).await;
        lab.apply(Change::TakeOver(learned.clone())).await.unwrap();
        ip("route add default via 10.1.0.1 dev up1 proto dhcp metric 100");
        let before = defaults();
        let result = lab.apply(Change::Restore(learned)).await;
        assert_eq!(errno(&result), libc::EEXIST);
        assert_eq!(defaults(), before);
    });
}

#[test]
fn what_was_never_remembered_is_not_restored() {
    lab(async |mut lab| {
        let up0 = lab.ifindex("up0").await;
        let result = lab.apply(Change::Restore(via("10.0.0.1", up0, 100))).await;
        assert_ne!(errno(&result), 0);
        assert_eq!(defaults(), [""; 0]);
    });
}
