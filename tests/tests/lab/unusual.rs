//! What seldom happens to an uplink, with every engine: interfaces made again, addresses and gateways of an odd kind, targets that answer
//! oddly, links that are narrow.

use std::time::Duration;

use pingu_tests::lab::{
    daemon::Daemon,
    forger::{Deed, Forger},
    namespace::Namespace,
    provider::ROUTER_SIDE,
    route_watch,
    settings::Settings,
    site::{LEARNED_METRIC, Plan, Site, TARGET, TARGET_V6},
    status::{self, counter},
    tun::Tun,
    turn,
};
use serde_json::Value;

use crate::{
    own_drops::{ENGINES, Engine},
    running::two_uplinks,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// Starts a daemon, or an engine's settings of it.
fn start(engine: Engine, site: &Site, settings: Settings) -> (Settings, Daemon) {
    let settings = engine.settings(settings);
    let daemon = engine.start(&site.router, &settings);
    (settings, daemon)
}

fn of_target(status: &Value, index: usize, name: &str) -> u64 {
    counter(status::target(status, "fibre", index), name)
}

fn causes(status: &Value, index: usize, name: &str) -> u64 {
    let causes = status::target(status, "fibre", index)["causes"].as_array();
    let of_name = causes
        .into_iter()
        .flatten()
        .filter(|cause| cause["cause"] == name);
    of_name.map(|cause| counter(cause, "count")).sum()
}

/// Waits for so many more answers, of which none may be missing.
#[track_caller]
fn all_answered(daemon: &mut Daemon, index: usize, answers: u64) {
    let before = daemon.status().expect("it answers");
    let after = daemon.wait_for("answers", DEADLINE, |status| {
        of_target(status, index, "answered") >= of_target(&before, index, "answered") + answers
    });
    let lost = |status| of_target(status, index, "lost");
    assert_eq!(lost(&after), lost(&before), "{after:#}");
}

#[test]
fn an_interface_made_again_with_another_number_is_served_again_by_every_engine() {
    let _turn = turn::shared();
    for engine in ENGINES {
        let site = Plan::new(&["wan1", "wan2"]).build();
        let (_settings, mut daemon) = start(engine, &site, two_uplinks(Settings::quick()));
        daemon.wait_until_up(&["fibre", "lte"]);
        let number = site.ifindex(0);
        let provider = &site.providers[0];
        site.router.ip("link del wan1");
        daemon.wait_until_down("fibre");
        site.router.veth("wan1", &provider.namespace, ROUTER_SIDE);
        let gateway = provider.gateway();
        provider
            .namespace
            .ip(&format!("address add {gateway}/24 dev {ROUTER_SIDE}"));
        provider.set_router_address(&site.router);
        provider.leave_default(&site.router, LEARNED_METRIC);
        assert_ne!(site.ifindex(0), number);
        daemon.wait_until_up(&["fibre", "lte"]);
        route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
        all_answered(&mut daemon, 0, 12);
    }
}

#[test]
fn a_changed_address_is_the_source_of_the_next_probes_with_every_engine() {
    let _turn = turn::shared();
    for engine in ENGINES {
        let site = Plan::new(&["wan1"]).build();
        let (_settings, mut daemon) = start(
            engine,
            &site,
            Settings::quick().uplink("fibre", "wan1", "auto", 88),
        );
        daemon.wait_until_up(&["fibre"]);
        let provider = &site.providers[0];
        site.router
            .sysctl("net.ipv4.conf.all.promote_secondaries", "1");
        let (old, gateway) = (provider.router_address(), provider.gateway());
        site.internet.ip("route add 10.0.1.77/32 via 10.255.1.2");
        for (new, gone) in [
            ("10.0.1.77", old.to_string()),
            ("10.0.1.2", "10.0.1.77".to_owned()),
        ] {
            site.router.ip_batch(&format!(
                "address add {new}/24 dev wan1\naddress del {gone}/24 dev wan1\n"
            ));
            let routes = site.router.ip("-4 route show default");
            if !routes.contains("proto dhcp") {
                site.router.ip(&format!(
                    "route add default via {gateway} dev wan1 proto dhcp metric {LEARNED_METRIC}"
                ));
            }
            daemon.wait_until_up(&["fibre"]);
            all_answered(&mut daemon, 0, 12);
        }
    }
}

#[test]
fn a_link_local_target_is_probed_by_every_engine() {
    let _turn = turn::shared();
    for engine in ENGINES {
        let site = Plan::new(&["wan1"]).build();
        let provider = &site.providers[0];
        provider
            .namespace
            .ip(&format!("address add fe80::77/64 dev {ROUTER_SIDE}"));
        let gateways = format!("[\"{}\", \"fe80::77\"]", provider.gateway());
        let settings = Settings::new()
            .probe("targets = [\"fe80::77\"]\ncount = 3\nspacing = \"50ms\"\nperiod = \"200ms\"")
            .probe("timeout = \"200ms\"")
            .uplink("fibre", "wan1", &gateways, 88);
        let (_settings, mut daemon) = start(engine, &site, settings);
        daemon.wait_until_up(&["fibre"]);
        all_answered(&mut daemon, 0, 12);
        provider
            .namespace
            .ip(&format!("address del fe80::77/64 dev {ROUTER_SIDE}"));
        daemon.wait_until_down("fibre");
    }
}

#[test]
fn a_layer_3_device_is_an_uplink_with_every_engine() {
    let _turn = turn::shared();
    for engine in ENGINES {
        let site = Plan::new(&["wan1"]).build();
        let tun = Tun::start(&site.router, "tun0");
        site.router.ip("address add 10.99.0.2/32 dev tun0");
        site.router.ip("route add default dev tun0 metric 2000");
        let settings = Settings::quick().uplink("fibre", "tun0", "none", 88);
        let (_settings, mut daemon) = start(engine, &site, settings);
        daemon.wait_until_up(&["fibre"]);
        all_answered(&mut daemon, 0, 12);
        tun.set_silent(true);
        daemon.wait_until_down("fibre");
        tun.set_silent(false);
        daemon.wait_until_up(&["fibre"]);
    }
}

#[test]
fn an_answer_from_another_address_is_none_with_every_engine() {
    let _turn = turn::shared();
    for engine in ENGINES {
        let site = Plan::new(&["wan1"]).build();
        let (_settings, mut daemon) = start(
            engine,
            &site,
            Settings::quick().uplink("fibre", "wan1", "auto", 88),
        );
        daemon.wait_until_up(&["fibre"]);
        // Without connection tracking: the router's own would not know it for an answer either.
        site.internet.nft(
            "table ip odd { chain out { type filter hook postrouting priority 300;\n\
             icmp type echo-reply ip saddr set 9.9.9.9\n}\n}\n",
        );
        daemon.wait_until_down("fibre");
        let status = daemon.wait_for("forged answers", DEADLINE, |status| {
            causes(status, 0, "forged") >= 12
        });
        assert_eq!(causes(&status, 0, "duplicate"), 0, "{engine:?}: {status:#}");
        site.internet.nft("delete table ip odd\n");
        daemon.wait_until_up(&["fibre"]);
    }
}

#[test]
fn probes_that_the_own_link_is_too_narrow_for_are_not_sent_by_every_engine() {
    let _turn = turn::shared();
    for engine in ENGINES {
        let site = Plan::new(&["wan1"]).build();
        let [gateway, gateway_v6] = [
            site.providers[0].gateway().to_string(),
            site.providers[0].gateway_v6().to_string(),
        ];
        site.router.ip(&format!(
            "route add ::/0 via {gateway_v6} dev wan1 metric 1000"
        ));
        let settings = Settings::new()
            .probe(&format!(
                "targets = [\"{TARGET}\", \"{TARGET_V6}\"]\nsize = 1400"
            ))
            .probe("count = 3\nspacing = \"50ms\"\nperiod = \"200ms\"\ntimeout = \"200ms\"")
            .uplink(
                "fibre",
                "wan1",
                &format!("[\"{gateway}\", \"{gateway_v6}\"]"),
                88,
            );
        let (_settings, mut daemon) = start(engine, &site, settings);
        daemon.wait_until_up(&["fibre"]);
        site.router.ip("link set wan1 mtu 1280");
        let status = daemon.wait_for("refused probes", DEADLINE, |status| {
            (0..2).all(|index| causes(status, index, "not-sent") >= 12)
        });
        let text = status.to_string();
        assert!(text.contains("Message too long"), "{engine:?}: {status:#}");
        site.router.ip("link set wan1 mtu 1500");
        for index in 0..2 {
            all_answered(&mut daemon, index, 12);
        }
    }
}

#[test]
fn answers_that_come_twice_count_once_with_every_engine() {
    let _turn = turn::shared();
    for engine in ENGINES {
        let site = Plan::new(&["wan1", "wan2"]).build();
        let forger = Forger::start(&site, 0, 1);
        let (_settings, mut daemon) = start(engine, &site, two_uplinks(Settings::quick()));
        daemon.wait_until_up(&["fibre", "lte"]);
        forger.turn_to(Deed::Answer);
        let status = daemon.wait_for("duplicates", DEADLINE, |status| {
            causes(status, 0, "duplicate") >= 12
        });
        let target = status::target(&status, "fibre", 0);
        let counted = counter(target, "answered") + counter(target, "lost");
        assert!(counted <= counter(target, "sent"), "{engine:?}: {target:#}");
        assert_eq!(counter(target, "lost"), 0, "{engine:?}: {target:#}");
    }
}

#[test]
fn uplinks_with_the_same_gateway_address_fail_over_with_every_engine() {
    let _turn = turn::shared();
    for engine in ENGINES {
        let site = Plan::new(&["wan1", "wan2"]).same_gateway().build();
        let (_settings, mut daemon) = start(engine, &site, two_uplinks(Settings::quick()));
        daemon.wait_until_up(&["fibre", "lte"]);
        site.providers[0].black_hole();
        route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
        let status = daemon.status().expect("it answers");
        assert_eq!(status::state(&status, "lte"), "up", "{status:#}");
        site.providers[0].repair();
        route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    }
}

/// Names of the router's interfaces change, and with them who is an uplink.
#[test]
fn an_interface_renamed_and_named_back_is_served_again_by_every_engine() {
    let _turn = turn::shared();
    for engine in ENGINES {
        let site = Plan::new(&["wan1"]).build();
        let (_settings, mut daemon) = start(
            engine,
            &site,
            Settings::quick().uplink("fibre", "wan1", "auto", 88),
        );
        daemon.wait_until_up(&["fibre"]);
        rename(&site.router, "wan1", "spare");
        daemon.wait_until_down("fibre");
        rename(&site.router, "spare", "wan1");
        site.providers[0].leave_default(&site.router, LEARNED_METRIC);
        daemon.wait_until_up(&["fibre"]);
        all_answered(&mut daemon, 0, 12);
    }
}

/// A bridge takes what comes in by its ports: hooks and packet sockets still see the answers, and no traffic would have any.
#[test]
fn an_interface_that_a_bridge_takes_is_down_until_it_is_free_with_every_engine() {
    let _turn = turn::shared();
    for engine in ENGINES {
        let site = Plan::new(&["wan1", "wan2"]).build();
        let (_settings, mut daemon) = start(engine, &site, two_uplinks(Settings::quick()));
        daemon.wait_until_up(&["fibre", "lte"]);
        site.router
            .ip_batch("link add br0 type bridge\nlink set br0 up\nlink set wan1 master br0\n");
        daemon.wait_for("a port to be no uplink", DEADLINE, |status| {
            let fibre = status::uplink(status, "fibre");
            fibre["state"] == "down" && fibre["reason"].to_string().contains("port of a bridge")
        });
        route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
        site.router.ip("link set wan1 nomaster");
        daemon.wait_until_up(&["fibre"]);
        route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
        all_answered(&mut daemon, 0, 12);
    }
}

fn rename(router: &Namespace, from: &str, to: &str) {
    router.ip_batch(&format!(
        "link set {from} down\nlink set {from} name {to}\nlink set {to} up\n"
    ));
}
