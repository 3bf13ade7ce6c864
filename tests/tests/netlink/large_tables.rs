//! Tables of a routing daemon's size, of which a look shall read no more than it must, and miss nothing.

use std::{fmt::Write, io::Write as _};

use pingu::{
    netlink::RouteTable,
    network::{DEFAULT_V4, Route},
    units::{Metric, TableId},
};

use crate::harness::{Lab, ip, lab};

/// More than enough for a look to learn in which order the kernel shows them.
const FOREIGN: u32 = 3_000;

/// Routes of somebody else's on both sides of whatever may stand in the middle, two of them beginning with zeroes as the default does.
fn fill() {
    let mut batch = String::from("route add 0.0.0.0/5 via 10.0.0.1 proto 11\n");
    batch.push_str("route add blackhole 0.0.0.0/8 proto 11\n");
    for number in 0..FOREIGN {
        let [_, _, high, low] = number.to_be_bytes();
        for first in [4, 200] {
            writeln!(
                batch,
                "route add {first}.{high}.{low}.0/24 via 10.0.0.1 proto 11"
            )
            .expect("a string takes all text");
        }
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(batch.as_bytes()).unwrap();
    ip(&format!("-batch {}", file.path().display()));
}

async fn defaults(lab: &mut Lab) -> Vec<Metric> {
    let routes = lab.routes.snapshot().await.unwrap().routes;
    let is_default =
        |route: &&Route| (route.destination, route.table) == (DEFAULT_V4, TableId::MAIN);
    assert!(routes.iter().all(|route| is_default(&route)), "{routes:?}");
    routes.iter().map(|route| route.metric).collect()
}

#[test]
fn the_kernel_shows_defaults_before_every_network_with_a_number_above_theirs() {
    lab(async |_| {
        fill();
        ip("route add default via 10.1.0.1 metric 7");
        let listing = ip("-4 route show table main");
        let before = listing
            .lines()
            .take_while(|line| !line.starts_with("default"));
        let before: Vec<&str> = before.collect();
        assert!(before.len() <= 2, "{:?}", &before[..8]);
        assert!(
            before.iter().all(|line| line.contains("0.0.0.0/")),
            "{before:?}"
        );
    });
}

#[test]
fn every_look_at_a_large_table_sees_all_defaults_of_the_moment() {
    lab(async |mut lab| {
        fill();
        assert_eq!(defaults(&mut lab).await, []);
        assert_eq!(defaults(&mut lab).await, []);
        ip("route add default via 10.0.0.1 metric 50 proto dhcp");
        ip("route add default via 10.1.0.1 metric 7");
        assert_eq!(defaults(&mut lab).await, [Metric(7), Metric(50)]);
        ip("route add default via 10.1.0.1 metric 60");
        ip("route del default metric 7");
        assert_eq!(defaults(&mut lab).await, [Metric(50), Metric(60)]);
        ip("route flush proto 11");
        assert_eq!(defaults(&mut lab).await, [Metric(50), Metric(60)]);
    });
}
