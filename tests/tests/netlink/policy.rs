//! Nexthop objects, prefixes and other tables: what is written is what is read, and others' stay as they are.

use pingu::{
    netlink::RouteTable,
    network::{Change, NextHop, Nexthop, NexthopKind, Route},
    units::{Metric, NexthopId, Protocol, TableId},
};

use crate::harness::{Lab, OWN, errno, ip, lab, over, via};

async fn balanced(lab: &mut Lab) -> [Nexthop; 3] {
    let (up0, up1) = (lab.ifindex("up0").await, lab.ifindex("up1").await);
    let object = |id, kind| Nexthop {
        id: NexthopId(id),
        protocol: OWN,
        ipv6: false,
        kind,
    };
    [
        object(1000, NexthopKind::Single(via("10.0.0.1", up0, 1).next_hop)),
        object(1002, NexthopKind::Single(over(false, up1, 1).next_hop)),
        object(
            1100,
            NexthopKind::Group(vec![(NexthopId(1000), 3), (NexthopId(1002), 1)]),
        ),
    ]
}

fn by_object(id: u32, destination: &str, table: u32) -> Route {
    Route {
        destination: destination.parse().unwrap(),
        table: TableId(table),
        metric: Metric(100),
        protocol: OWN,
        next_hop: NextHop::Object(NexthopId(id)),
        preferred_source: None,
        wire: Vec::new(),
    }
}

#[test]
fn a_group_of_nexthops_carries_routes_and_changes_in_one_message() {
    lab(async |mut lab| {
        ip("nexthop add id 5 via 10.1.0.1 dev up1 protocol static");
        let objects = balanced(&mut lab).await;
        for object in &objects {
            lab.apply(Change::AddNexthop(object.clone())).await.unwrap();
            let seen = lab.look().await.nexthops;
            assert!(seen.contains(object), "{object}: {seen:?}");
            lab.apply(Change::AddNexthop(object.clone())).await.unwrap();
            assert!(lab.look().await.nexthops.contains(object), "{object}");
        }
        let routes = [
            by_object(1100, "0.0.0.0/0", 254),
            by_object(1100, "198.51.100.0/24", 254),
            by_object(1100, "0.0.0.0/0", 201),
        ];
        for route in &routes {
            lab.apply(Change::Add(route.clone())).await.unwrap();
            let seen = lab.look().await.routes;
            assert!(
                seen.iter()
                    .any(|found| (&found.next_hop, found.destination, found.table)
                        == (&route.next_hop, route.destination, route.table)),
                "{seen:?}"
            );
        }
        let smaller = Nexthop {
            kind: NexthopKind::Group(vec![(NexthopId(1002), 1)]),
            ..objects[2].clone()
        };
        lab.apply(Change::ReplaceNexthop(smaller.clone()))
            .await
            .unwrap();
        assert!(lab.look().await.nexthops.contains(&smaller));
        assert!(ip("route get 198.51.100.9").contains("dev up1"));
        for route in routes {
            lab.apply(Change::Delete(route)).await.unwrap();
        }
        for object in objects.iter().rev() {
            for _ in 0..2 {
                lab.apply(Change::DeleteNexthop(object.clone()))
                    .await
                    .unwrap();
            }
        }
        let left = lab.look().await.nexthops;
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(left[0].id, NexthopId(5));
    });
}

#[test]
fn a_foreign_nexthop_object_is_neither_changed_nor_deleted() {
    lab(async |mut lab| {
        ip("nexthop add id 1000 via 10.1.0.1 dev up1 protocol static");
        let foreign = ip("nexthop show");
        let [ours, ..] = balanced(&mut lab).await;
        let added = lab.apply(Change::AddNexthop(ours.clone())).await;
        assert_eq!(errno(&added), libc::EEXIST);
        lab.apply(Change::DeleteNexthop(ours)).await.unwrap();
        assert_eq!(ip("nexthop show"), foreign);
    });
}

#[test]
fn own_routes_of_any_table_destination_and_kind_are_seen_and_deleted_exactly() {
    lab(async |mut lab| {
        let (up0, up1) = (lab.ifindex("up0").await, lab.ifindex("up1").await);
        for line in [
            "route add 198.51.100.0/24 via 10.1.0.1 dev up1 metric 7 table 201",
            "-6 route add 2001:db8:99::/48 via 2001:db8:1::1 dev up1 metric 7 table 201",
            "-6 route add unreachable 2001:db8:98::/48 metric 8",
        ] {
            ip(line);
        }
        let shown =
            || ip("-details route show table all") + &ip("-details -6 route show table all");
        let foreign = shown();
        let to = |route: Route, destination: &str, table| Route {
            destination: destination.parse().unwrap(),
            table: TableId(table),
            ..route
        };
        let nowhere = |next_hop, destination: &str| Route {
            next_hop,
            ..by_object(1, destination, 254)
        };
        let kinds = [
            to(via("10.0.0.1", up0, 7), "198.51.100.0/25", 201),
            to(over(false, up0, 1), "10.0.0.0/24", 4000),
            to(via("2001:db8::1", up0, 7), "2001:db8:99::/49", 201),
            to(over(true, up1, 1), "2001:db8:1::/64", 4000),
            nowhere(NextHop::Unreachable, "0.0.0.0/0"),
            nowhere(NextHop::Blackhole, "203.0.113.0/24"),
            nowhere(NextHop::Unreachable, "::/0"),
            nowhere(NextHop::Blackhole, "2001:db8:97::/48"),
        ];
        for route in kinds {
            for _ in 0..2 {
                lab.apply(Change::Add(route.clone())).await.unwrap();
            }
            let own: Vec<Route> = lab
                .look()
                .await
                .routes
                .into_iter()
                .filter(|found| found.protocol == OWN)
                .map(|found| Route {
                    wire: Vec::new(),
                    ..found
                })
                .collect();
            assert_eq!(own, std::slice::from_ref(&route));
            for _ in 0..2 {
                lab.apply(Change::Delete(route.clone())).await.unwrap();
            }
            assert_eq!(shown(), foreign, "{route}");
        }
    });
}

#[test]
fn an_unreachable_default_and_a_way_out_in_one_place_are_told_apart() {
    lab(async |mut lab| {
        let up0 = lab.ifindex("up0").await;
        for (gateway, everything) in [("10.0.0.1", "0.0.0.0/0"), ("2001:db8::1", "::/0")] {
            let way = via(gateway, up0, 100);
            let refusal = Route {
                next_hop: NextHop::Unreachable,
                ..by_object(1, everything, 254)
            };
            for (first, second) in [(&way, &refusal), (&refusal, &way)] {
                lab.apply(Change::Add(first.clone())).await.unwrap();
                lab.apply(Change::AddBeside(second.clone())).await.unwrap();
                lab.apply(Change::Delete(first.clone())).await.unwrap();
                let own: Vec<NextHop> = lab
                    .look()
                    .await
                    .routes
                    .into_iter()
                    .filter(|found| found.protocol == OWN)
                    .map(|found| found.next_hop)
                    .collect();
                assert_eq!(
                    own,
                    std::slice::from_ref(&second.next_hop),
                    "{first} {second}"
                );
                lab.apply(Change::Delete(second.clone())).await.unwrap();
            }
        }
    });
}

#[test]
fn many_changes_are_made_in_their_order_and_each_has_its_outcome() {
    lab(async |mut lab| {
        let (up0, up1) = (lab.ifindex("up0").await, lab.ifindex("up1").await);
        let prefix = |n: u32| format!("198.{}.{}.0/24", n / 256, n % 256);
        let route = |n: u32, gateway: &str, ifindex| Route {
            destination: prefix(n).parse().unwrap(),
            ..via(gateway, ifindex, 100)
        };
        // One place is somebody else's, and one gateway is not to be had.
        ip(&format!("route add {} via 10.1.0.1 metric 100", prefix(5)));
        let mut additions: Vec<Change> = (0..1500)
            .map(|n| Change::Add(route(n, "10.0.0.1", up0)))
            .collect();
        additions[7] = Change::Add(route(7, "10.99.0.1", up0));
        let outcomes = lab.routes.apply_all(&additions).await;
        let refused: Vec<(usize, i32)> = outcomes
            .iter()
            .enumerate()
            .map(|(n, outcome)| (n, errno(outcome)))
            .filter(|(_, errno)| *errno != 0)
            .collect();
        assert_eq!(refused, [(5, libc::EEXIST), (7, libc::ENETUNREACH)]);
        let again = lab.routes.apply_all(&additions).await;
        assert_eq!(again.iter().filter(|outcome| outcome.is_err()).count(), 2);

        let moved: Vec<Change> = (0..1500)
            .filter(|n| *n != 5 && *n != 7)
            .flat_map(|n| {
                [
                    Change::AddBeside(route(n, "10.1.0.1", up1)),
                    Change::Delete(route(n, "10.0.0.1", up0)),
                ]
            })
            .chain([Change::AddBeside(route(5, "10.1.0.1", up1))])
            .collect();
        let outcomes = lab.routes.apply_all(&moved).await;
        let refused: Vec<usize> = (0..moved.len()).filter(|n| outcomes[*n].is_err()).collect();
        assert_eq!(refused, [moved.len() - 1], "beside a foreign route");
        let own: Vec<Route> = lab
            .look()
            .await
            .routes
            .into_iter()
            .filter(|found| found.protocol == OWN)
            .collect();
        assert_eq!(own.len(), 1498);
        assert!(
            own.iter()
                .all(|route| route.next_hop.ifindex() == Some(up1))
        );
    });
}

#[test]
fn hundreds_of_places_of_others_are_refused_in_one_batch_and_stay_theirs() {
    lab(async |mut lab| {
        let (up0, up1) = (lab.ifindex("up0").await, lab.ifindex("up1").await);
        let route = |n: u32, gateway: &str, ifindex| Route {
            destination: format!("198.{}.{}.0/24", n / 256, n % 256).parse().unwrap(),
            ..via(gateway, ifindex, 100)
        };
        // Somebody else has every odd place.
        let foreign = |n: u32| Route {
            protocol: Protocol(99),
            ..route(n, "10.1.0.1", up1)
        };
        let mut others = pingu::netlink::KernelRoutes::new(Protocol(99)).unwrap();
        let taken: Vec<Change> = (0..600)
            .filter(|n| n % 2 == 1)
            .map(|n| Change::Add(foreign(n)))
            .collect();
        assert!(others.apply_all(&taken).await.iter().all(Result::is_ok));

        let errnos = |outcomes: &[Result<(), pingu::netlink::NetlinkError>]| -> Vec<i32> {
            outcomes.iter().map(errno).collect()
        };
        let expected: Vec<i32> = (0..600)
            .map(|n| if n % 2 == 1 { libc::EEXIST } else { 0 })
            .collect();
        let additions: Vec<Change> = (0..600)
            .map(|n| Change::Add(route(n, "10.0.0.1", up0)))
            .collect();
        assert_eq!(errnos(&lab.routes.apply_all(&additions).await), expected);
        assert_eq!(errnos(&lab.routes.apply_all(&additions).await), expected);
        let beside: Vec<Change> = (0..600)
            .map(|n| Change::AddBeside(route(n, "10.1.0.1", up1)))
            .collect();
        assert_eq!(errnos(&lab.routes.apply_all(&beside).await), expected);
        // What is not there is gone; own routes are not looked for in others'.
        let deletions: Vec<Change> = (0..600)
            .flat_map(|n| {
                [
                    Change::Delete(route(n, "10.0.0.1", up0)),
                    Change::Delete(route(n, "10.1.0.1", up1)),
                ]
            })
            .collect();
        for _ in 0..2 {
            let outcomes = lab.routes.apply_all(&deletions).await;
            assert!(outcomes.iter().all(Result::is_ok));
        }
        // Every one of the others' is there still.
        let again = others.apply_all(&taken).await;
        assert!(again.iter().all(Result::is_ok));
        let gone: Vec<Change> = (0..600)
            .filter(|n| n % 2 == 1)
            .map(|n| Change::Delete(foreign(n)))
            .collect();
        assert!(others.apply_all(&gone).await.iter().all(Result::is_ok));
    });
}
