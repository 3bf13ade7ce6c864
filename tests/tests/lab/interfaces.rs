//! Interfaces that change their name, number or whereabouts under a running daemon.

use std::time::Duration;

use pingu_tests::lab::{
    daemon::Daemon,
    namespace::Namespace,
    provider::{Provider, ROUTER_SIDE},
    route_monitor::RouteMonitor,
    route_watch, routes,
    settings::Settings,
    site::{LEARNED_METRIC, Site, TARGET},
    status, turn,
    wait::wait_until,
};

use crate::running::{running, two_uplinks};

const DEADLINE: Duration = Duration::from_secs(10);

#[test]
fn an_interface_renamed_is_an_uplink_no_more_until_it_has_its_name_back() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, mut daemon) = running(&settings);
    site.router.ip("link set wan1 name away0");
    let status = daemon.wait_until_down("fibre");
    assert!(status::reason(&status, "fibre").contains("wan1"));
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
    wait_until(
        "no own route over the renamed one",
        DEADLINE,
        || match routes::own_over(&site.router, "away0") {
            None => Ok(()),
            Some(route) => Err(route),
        },
    );

    site.router.ip("link set away0 name wan1");
    back_on_the_fibre(&site, &mut daemon);
}

#[test]
fn two_interfaces_that_swap_their_names_swap_their_uplinks() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, mut daemon) = running(&settings);
    let (first, second) = (site.ifindex(0), site.ifindex(1));
    site.router.ip_batch(
        "link set wan1 name spare0\nlink set wan2 name wan1\nlink set spare0 name wan2\n",
    );
    daemon.wait_for("the gateways to be swapped", DEADLINE, |status| {
        status::all_up(status, &["fibre", "lte"])
            && status::uplink(status, "fibre")["gateway"] == "10.0.2.1"
            && status::uplink(status, "lte")["gateway"] == "10.0.1.1"
            && status["active"] == "fibre"
    });
    assert_ne!(first, second);
    route_watch::wait_until_by(&site.router, TARGET, second, DEADLINE);
    wait_until("both own routes", DEADLINE, || {
        let own = routes::own(&site.router);
        let stands = |metric: &str, interface: &str| {
            own.iter()
                .any(|line| line.contains(metric) && line.contains(interface))
        };
        if own.len() == 2 && stands("metric 88", " dev wan1 ") && stands("metric 89", " dev wan2 ")
        {
            Ok(())
        } else {
            Err(format!("{own:?}"))
        }
    });
}

#[test]
fn another_interface_that_gets_a_deleted_ones_number_is_not_taken_for_it() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, mut daemon) = running(&settings);
    let number = site.ifindex(0);
    let monitor = RouteMonitor::start(&site.router);
    // In one go: the daemon may see no instant without the number.
    site.router.ip_batch(&format!(
        "link del wan1\nlink add guest0 index {number} type veth peer name guest1\n\
         link set guest0 up\nlink set guest1 up\naddress add 10.0.1.2/24 dev guest0\n\
         route add default via 10.0.1.1 dev guest0 proto dhcp metric {LEARNED_METRIC}\n"
    ));
    daemon.wait_until_down("fibre");
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
    assert_eq!(routes::own_over(&site.router, "guest0"), None);

    site.router.ip("link del guest0");
    made_again(&site, &site.providers[0]);
    assert_ne!(site.ifindex(0), number);
    back_on_the_fibre(&site, &mut daemon);
    let over_the_guest = |event: &String| event.contains("proto 136") && event.contains("guest0");
    let events = monitor.events();
    assert!(!events.iter().any(over_the_guest), "{events:?}");
}

#[test]
fn an_interface_made_again_in_one_go_with_its_old_number_comes_back() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, mut daemon) = running(&settings);
    let number = site.ifindex(0);
    let provider = &site.providers[0];
    site.router.ip_batch(&format!(
        "link del wan1\nlink add wan1 index {number} type veth peer name {ROUTER_SIDE} netns {}\nlink set wan1 up\n",
        provider.namespace.name()
    ));
    provider.namespace.ip(&format!("link set {ROUTER_SIDE} up"));
    addressed_again(&site, provider);
    assert_eq!(site.ifindex(0), number);
    back_on_the_fibre(&site, &mut daemon);
    let answered = |status: &serde_json::Value| {
        status::counter(status::target(status, "fibre", 0), "answered")
    };
    let before = answered(&daemon.status().unwrap());
    daemon.wait_for("answers by the new one", DEADLINE, |status| {
        answered(status) >= before + 6
    });
}

#[test]
fn an_interface_that_leaves_for_another_namespace_and_returns_comes_back() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, mut daemon) = running(&settings);
    let elsewhere = Namespace::new("elsewhere");
    site.router
        .ip(&format!("link set wan1 netns {}", elsewhere.name()));
    daemon.wait_until_down("fibre");
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);

    elsewhere.ip(&format!("link set wan1 netns {}", site.router.name()));
    site.router.ip("link set wan1 up");
    let provider = &site.providers[0];
    provider.set_router_address(&site.router);
    provider.leave_default(&site.router, LEARNED_METRIC);
    back_on_the_fibre(&site, &mut daemon);
}

fn made_again(site: &Site, provider: &Provider) {
    site.router.veth("wan1", &provider.namespace, ROUTER_SIDE);
    addressed_again(site, provider);
}

fn addressed_again(site: &Site, provider: &Provider) {
    provider.namespace.ip(&format!(
        "address add {}/24 dev {ROUTER_SIDE}",
        provider.gateway()
    ));
    provider.set_router_address(&site.router);
    provider.leave_default(&site.router, LEARNED_METRIC);
}

fn back_on_the_fibre(site: &Site, daemon: &mut Daemon) {
    daemon.wait_until_up(&["fibre"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    assert!(routes::own_over(&site.router, "wan1").is_some());
}
