//! What the watch hears, and what it does not.

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use pingu::{
    netlink::watch::Watch,
    network::{Change, Deed, Interference, News},
};

use crate::harness::{OWN, changed, defaults, heard, ip, lab, next, via, watch};

#[test]
fn changes_of_default_routes_are_news() {
    lab(async |_| {
        let mut watch = watch().await;
        for line in [
            "-4 route add default via 10.0.0.1 proto dhcp metric 5",
            "-4 route del default via 10.0.0.1 proto dhcp metric 5",
            "-6 route add default via 2001:db8::1 proto ra metric 5",
            "-6 route del default via 2001:db8::1 proto ra metric 5",
            // Own routes are news wherever they are.
            "-4 route add 192.0.2.0/24 via 10.0.0.1 proto 136",
            "-6 route add default via 2001:db8::1 proto 136 table 100",
            "nexthop add id 9 via 10.0.0.1 dev up0",
            "nexthop del id 9",
            "addr add 10.0.0.8/24 dev up0",
            "-6 addr add 2001:db8::8/64 dev up0 nodad",
            "link set up0 mtu 1400",
        ] {
            ip(line);
            changed(&mut watch, line).await;
            // An IPv6 address takes its time to settle, and is news again.
            heard(&mut watch).await;
        }
    });
}

#[test]
fn other_routes_are_no_news() {
    lab(async |_| {
        let mut watch = watch().await;
        for line in [
            "-4 route add 192.0.2.0/24 via 10.0.0.1 proto bgp",
            "-6 route add 2001:db8:ffff::/48 via 2001:db8::1 proto bgp",
            "-4 route add default via 10.0.0.1 table 100",
            "-4 route add default via 10.0.0.1 table 70000",
            "-4 route flush proto bgp",
            "neigh add 224.0.0.9 lladdr 01:00:5e:00:00:09 dev up0 nud permanent",
        ] {
            ip(line);
            assert_eq!(heard(&mut watch).await, [], "{line}");
        }
    });
}

/// The kernel says nothing about these routes, only about what took them along.
#[test]
fn routes_that_vanish_in_silence_make_news_all_the_same() {
    lab(async |mut lab| {
        let (up0, up1) = (lab.ifindex("up0").await, lab.ifindex("up1").await);
        ip("nexthop add id 9 via 10.0.0.1 dev up0");
        lab.apply(Change::Add(via("10.0.0.1", up0, 100)))
            .await
            .unwrap();
        let mut listening = watch().await;
        for (route, blow) in [
            ("nhid 9", "nexthop del id 9"),
            ("via 10.0.0.1 dev up0", "link set up0 down"),
            ("via 10.1.0.1 dev up1", "addr del 10.1.0.2/24 dev up1"),
            ("dev up1", "link del up1"),
        ] {
            ip(&format!("route add default {route} metric 5"));
            // The addition's own news.
            changed(&mut listening, route).await;
            ip(blow);
            changed(&mut listening, blow).await;
            let routes = lab.look().await.routes;
            assert!(
                !routes.iter().any(|route| route.metric.0 == 5),
                "{blow}: {:?}",
                defaults()
            );
        }
        let routes = lab.look().await.routes;
        assert_eq!(routes, [], "of {up0} and {up1}");
    });
}

#[test]
fn the_loss_of_carrier_is_news() {
    lab(async |mut lab| {
        let mut watch = watch().await;
        lab.peer.ip("link set peer0 down").unwrap();
        loop {
            next(&mut watch).await;
            if !lab.link("up0").await.carrier {
                break;
            }
        }
        lab.peer.ip("link set peer0 up").unwrap();
        loop {
            next(&mut watch).await;
            if lab.link("up0").await.carrier {
                break;
            }
        }
    });
}

#[test]
fn a_burst_of_changes_is_one_piece_of_news() {
    lab(async |_| {
        let mut watch = watch().await;
        for metric in 1..40 {
            ip(&format!("route add default via 10.0.0.1 metric {metric}"));
        }
        assert_eq!(heard(&mut watch).await, [News::Changed]);
    });
}

#[test]
fn a_flood_is_told_as_an_overrun_and_not_the_end() {
    lab(async |_| {
        let mut watch = Watch::with_buffer(OWN, 4096).unwrap();
        for metric in 1..200 {
            ip(&format!("route add default via 10.0.0.1 metric {metric}"));
        }
        assert_eq!(next(&mut watch).await, News::Overrun);
        assert!(
            heard(&mut watch)
                .await
                .iter()
                .all(|news| *news == News::Changed)
        );
        ip("route flush default");
        while next(&mut watch).await != News::Overrun {}
        heard(&mut watch).await;
    });
}

#[test]
fn a_future_that_is_dropped_loses_nothing() {
    lab(async |_| {
        let mut watch = watch().await;
        ip("neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev up0 nud permanent");
        ip("link set up0 mtu 1400");
        let mut all = Vec::new();
        while all.len() < 2 {
            tokio::select! {
                biased;
                news = watch.next() => all.push(news.unwrap()),
                () = tokio::task::yield_now() => {}
            }
        }
        assert!(matches!(all[..], [News::Neighbour(_), News::Changed]));
    });
}

#[test]
fn what_other_processes_say_is_no_news() {
    lab(async |_| {
        let mut watch = watch().await;
        // A link message, to the groups that the watch listens to.
        let mut message = vec![0; 32];
        message[..4].copy_from_slice(&32_u32.to_ne_bytes());
        message[4..6].copy_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
        let mut socket = Socket::new(NETLINK_ROUTE).unwrap();
        socket.bind_auto().unwrap();
        let everyone = SocketAddr::new(0, 1 << (libc::RTNLGRP_LINK - 1));
        socket.send_to(&message, &everyone, 0).unwrap();
        assert_eq!(heard(&mut watch).await, []);
    });
}

/// What others did to own routes, of all that was announced until here.
async fn interferences(watch: &mut Watch) -> Vec<Interference> {
    let heard = heard(watch).await;
    let interference = |news| match news {
        News::Interfered(what) => Some(*what),
        _ => None,
    };
    heard.into_iter().filter_map(interference).collect()
}

#[test]
fn who_deletes_or_replaces_an_own_route_is_told() {
    lab(async |mut lab| {
        let up0 = lab.ifindex("up0").await;
        let mut watch = watch().await;
        watch.know_own(lab.routes.ports());
        for (gateway, family) in [("10.0.0.1", "-4"), ("2001:db8::1", "-6")] {
            let own = via(gateway, up0, 88);
            lab.apply(Change::Add(own.clone())).await.unwrap();
            lab.apply(Change::Delete(own.clone())).await.unwrap();
            lab.apply(Change::Add(own.clone())).await.unwrap();
            assert_eq!(interferences(&mut watch).await, [], "own doings");

            let kept = format!("{family} route add default via {gateway} metric 99 proto dhcp");
            ip(&kept);
            ip(&kept.replace(" add ", " del "));
            assert_eq!(interferences(&mut watch).await, [], "others' own affairs");

            ip(&format!(
                "{family} route del default via {gateway} metric 88 proto 136"
            ));
            let told = interferences(&mut watch).await;
            let [deletion] = &told[..] else {
                panic!("{told:?}");
            };
            assert_eq!(deletion.deed, Deed::Deleted);
            assert_eq!(deletion.route.next_hop, own.next_hop);
            assert_eq!(deletion.route.metric, own.metric);
            assert!(deletion.port != 0 && !lab.routes.ports().contains(&deletion.port));

            lab.apply(Change::Add(own.clone())).await.unwrap();
            ip(&format!(
                "{family} route replace default via {gateway} metric 88 proto dhcp"
            ));
            let told = interferences(&mut watch).await;
            let [replacement] = &told[..] else {
                panic!("{told:?}");
            };
            assert_eq!(replacement.deed, Deed::Replaced);
            assert_eq!(replacement.route.protocol.0, 16);
            assert_eq!(replacement.route.metric, own.metric);
            ip(&format!("{family} route del default metric 88"));
        }
    });
}

/// The kernel's own clearing away is nobody's deed.
#[test]
fn routes_that_go_with_their_interface_are_nobodys_deed() {
    lab(async |mut lab| {
        let (up0, up1) = (lab.ifindex("up0").await, lab.ifindex("up1").await);
        for own in [
            via("10.0.0.1", up0, 88),
            via("2001:db8::1", up0, 88),
            via("10.1.0.1", up1, 89),
            via("2001:db8:1::1", up1, 89),
        ] {
            lab.apply(Change::Add(own)).await.unwrap();
        }
        let mut watch = watch().await;
        watch.know_own(lab.routes.ports());
        ip("link set up0 mtu 1400");
        ip("link set up1 down");
        assert_eq!(interferences(&mut watch).await, []);
    });
}
