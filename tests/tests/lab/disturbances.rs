//! What others do to the kernel while pingu runs, most of it without a word.

use std::time::Duration;

use pingu_tests::lab::{
    daemon::Daemon,
    provider::{Provider, ROUTER_SIDE},
    route_monitor::RouteMonitor,
    route_watch, routes,
    settings::Settings,
    site::{LEARNED_METRIC, Plan, Site, TARGET},
    status::{self, counter},
    stopwatch::Stopwatch,
    turn,
    wait::wait_until,
};

use crate::running::{running, two_uplinks};

const DEADLINE: Duration = Duration::from_secs(10);

/// The goal: what the kernel announces is mended within this time.
const MENDED_MAX: Duration = Duration::from_secs(1);

#[test]
fn deleted_own_routes_are_back_within_a_second() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, _daemon) = running(&settings);
    let before = routes::own(&site.router);
    let connected = connected_networks(&site);
    for deletion in [
        "route flush proto 136".to_owned(),
        "route del default proto 136 metric 88".to_owned(),
        "route del default proto 136 metric 89".to_owned(),
        format!("route flush table main\n{connected}"),
    ] {
        let start = Stopwatch::start();
        site.router.ip_batch(&deletion);
        wait_until(
            &format!("own routes to be back after `{deletion}`"),
            DEADLINE,
            || {
                let own = routes::own(&site.router);
                if own == before {
                    Ok(())
                } else {
                    Err(format!("{own:?}"))
                }
            },
        );
        assert!(
            start.elapsed() <= MENDED_MAX,
            "`{deletion}` took {:?} to mend",
            start.elapsed()
        );
    }
}

/// The flush takes the connected networks along, and without them the kernel knows of no gateway.
#[test]
fn a_flush_of_the_main_table_leaves_no_default_missing_for_long() {
    let _turn = turn::shared();
    for gateways in [["10.0.1.1", "10.0.2.1"], ["auto", "auto"]] {
        let settings = Settings::quick()
            .uplink("fibre", "wan1", gateways[0], 88)
            .uplink("lte", "wan2", gateways[1], 89);
        let (site, mut daemon) = running(&settings);
        let before = routes::own(&site.router).len();
        let connected = connected_networks(&site);
        let start = Stopwatch::start();
        site.router.ip("route flush table main");
        route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
        assert!(start.elapsed() <= MENDED_MAX, "{:?}", start.elapsed());
        wait_until("all own routes to be back", DEADLINE, || {
            let own = routes::own(&site.router);
            (own.len() == before)
                .then_some(())
                .ok_or_else(|| format!("{own:?}"))
        });
        assert!(start.elapsed() <= MENDED_MAX, "{:?}", start.elapsed());

        // With the networks back there is nothing left to write.
        let monitor = RouteMonitor::start(&site.router);
        site.router.ip_batch(&connected);
        let sent = probes(&daemon.status().expect("a status"));
        daemon.wait_for("more probes", DEADLINE, |status| {
            probes(status) >= sent + 30
        });
        let events = monitor.events();
        let own: Vec<&String> = events
            .iter()
            .filter(|event| event.contains("proto 136"))
            .collect();
        assert!(own.is_empty(), "{own:?}");
        daemon.wait_until_up(&["fibre", "lte"]);
    }
}

/// How many probes went out by the first uplink.
fn probes(status: &serde_json::Value) -> u64 {
    counter(status::target(status, "fibre", 0), "sent")
}

#[test]
fn an_uplink_is_found_by_an_alternative_name() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let long = "uplink-towards-the-provider-in-the-basement";
    site.router
        .ip(&format!("link property add dev wan1 altname {long}"));
    let settings = Settings::quick()
        .uplink("fibre", long, "auto", 88)
        .uplink("lte", "wan2", "auto", 89);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    site.router
        .ip(&format!("link property del dev wan1 altname {long}"));
    let status = daemon.wait_until_down("fibre");
    assert!(status::reason(&status, "fibre").contains("there is no interface"));
}

/// Commands that put the connected networks back: a flush of the main table takes them as well, and without them no gateway
/// can be set.
fn connected_networks(site: &Site) -> String {
    let command = |provider: &Provider| {
        let (interface, address) = (provider.interface(), provider.router_address());
        let network = provider.gateway().octets();
        format!(
            "route replace {}.{}.{}.0/24 dev {interface} proto kernel scope link src {address}\n",
            network[0], network[1], network[2]
        )
    };
    site.providers.iter().map(command).collect()
}

#[test]
fn a_removed_address_is_noticed_although_the_kernel_drops_the_routes_silently() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, mut daemon) = running(&settings);
    let address = site.providers[0].router_address();
    site.router
        .ip(&format!("address del {address}/24 dev wan1"));
    assert!(
        routes::own_over(&site.router, "wan1").is_none(),
        "the kernel drops routes with the last address"
    );
    daemon.wait_until_down("fibre");
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);

    site.providers[0].set_router_address(&site.router);
    site.providers[0].leave_default(&site.router, LEARNED_METRIC);
    daemon.wait_until_up(&["fibre"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
}

#[test]
fn an_interface_set_down_and_up_again_gets_its_own_route_back() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = Settings::quick()
        .uplink("fibre", "wan1", "10.0.1.1", 88)
        .uplink("lte", "wan2", "auto", 89);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);

    site.router.ip("link set wan1 down");
    let status = daemon.wait_until_down("fibre");
    assert!(
        status::reason(&status, "fibre").contains("wan1"),
        "{}",
        status::reason(&status, "fibre")
    );
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);

    site.router.ip("link set wan1 up");
    daemon.wait_until_up(&["fibre"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
}

#[test]
fn an_interface_deleted_and_made_again_comes_back() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, mut daemon) = running(&settings);
    site.router.ip("link del wan1");
    let status = daemon.wait_until_down("fibre");
    assert!(
        status::reason(&status, "fibre").contains("wan1"),
        "{}",
        status::reason(&status, "fibre")
    );
    assert!(
        status::uplink(&status, "fibre")["engine"].is_null(),
        "{status:#}"
    );
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);

    let provider = &site.providers[0];
    site.router.veth("wan1", &provider.namespace, ROUTER_SIDE);
    provider.namespace.ip(&format!(
        "address add {}/24 dev {ROUTER_SIDE}",
        provider.gateway()
    ));
    provider.set_router_address(&site.router);
    provider.leave_default(&site.router, LEARNED_METRIC);
    daemon.wait_until_up(&["fibre"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
}

#[test]
fn what_belongs_to_others_is_the_same_before_and_after_a_run_with_a_failover() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    site.router.ip_batch(
        "route add 10.77.0.0/16 via 192.168.88.2\n\
         route add default via 192.168.88.2 proto static metric 5000\n\
         route add default via 10.0.2.1 table 200\n\
         route add default via 10.0.1.1 proto 137 metric 90\n\
         rule add from 10.0.2.2 table 200 priority 1000\n\
         route add ::/0 via 2001:db8:2::1 proto static metric 5000\n",
    );
    let before = routes::foreign(&site.router);
    let settings = two_uplinks(Settings::quick());
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    assert_eq!(routes::foreign(&site.router), before, "while it runs");
    site.providers[0].black_hole();
    daemon.wait_until_down("fibre");
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
    assert_eq!(routes::foreign(&site.router), before, "after the failover");
    site.providers[0].repair();
    daemon.wait_until_up(&["fibre"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    daemon.stop();
    assert_eq!(routes::own(&site.router), Vec::<String>::new());
    assert_eq!(routes::foreign(&site.router), before, "after its end");
}

#[test]
fn a_foreign_default_at_an_uplinks_metric_is_left_alone() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    site.router
        .ip("route add default via 192.168.88.2 proto static metric 88");
    let before = routes::foreign(&site.router);
    let settings = two_uplinks(Settings::quick());
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    wait_until("the own route of lte", DEADLINE, || {
        routes::own_over(&site.router, "wan2")
            .map(|_| ())
            .ok_or_else(|| format!("{:?}", routes::own(&site.router)))
    });
    assert_eq!(routes::foreign(&site.router), before);
    assert!(
        routes::own_over(&site.router, "wan1").is_none(),
        "its place is taken"
    );

    site.router.ip("route del default proto static metric 88");
    wait_until("the own route of the fibre", DEADLINE, || {
        routes::own_over(&site.router, "wan1")
            .map(|_| ())
            .ok_or_else(|| format!("{:?}", routes::own(&site.router)))
    });
}
