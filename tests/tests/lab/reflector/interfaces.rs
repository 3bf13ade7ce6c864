//! Interfaces and addresses of a reflector that come, go and come back.

use std::net::IpAddr;

use pingu_tests::lab::{
    daemon::{Daemon, START_DEADLINE},
    namespace::Namespace,
    site::Plan,
    turn,
    wait::wait_until,
};
use serde_json::{Value, json};

use super::{DEADLINE, FAR_V4, Reflector, directions, far_settings, is_told, pass_probes};

/// Waits until the reflector's next report says this.
#[track_caller]
fn wait_for_report(reflector: &Reflector, what: &str, is_wanted: impl Fn(&Value) -> bool) {
    wait_until(what, DEADLINE, || {
        // Each report answers one signal: the next one tells what is so after this.
        let before = reflector.0.log().len();
        reflector.0.signal(libc::SIGUSR1);
        wait_until("a report", DEADLINE, || {
            (reflector.0.log().len() > before)
                .then_some(())
                .ok_or_else(String::new)
        });
        let log = reflector.0.log();
        let Some(line) = log.lines().rfind(|line| line.starts_with('{')) else {
            return Err(log);
        };
        let report: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        if is_wanted(&report) {
            Ok(())
        } else {
            Err(line.to_owned())
        }
    });
}

/// The IPv4 addresses that are served, as `interface address`.
fn served(report: &Value) -> Vec<String> {
    let mut served = Vec::new();
    for interface in report["interfaces"].as_array().into_iter().flatten() {
        let addresses = interface["addresses"].as_array().into_iter().flatten();
        for address in addresses.filter_map(Value::as_str) {
            if address.parse::<IpAddr>().is_ok_and(|one| one.is_ipv4()) {
                served.push(format!(
                    "{} {address}",
                    interface["interface"]
                        .as_str()
                        .expect("an interface has a name")
                ));
            }
        }
    }
    served.sort();
    served
}

#[track_caller]
fn wait_for_served(reflector: &Reflector, wanted: &[&str]) {
    wait_for_report(reflector, "the addresses to be served", |report| {
        served(report) == wanted
    });
}

fn make(namespace: &Namespace, interface: &str, address: &str) {
    namespace.ip(&format!(
        "link add {interface} type veth peer name {interface}-peer"
    ));
    namespace.ip(&format!("address add {address}/24 dev {interface}"));
    namespace.ip(&format!("link set {interface} up"));
}

#[test]
fn interfaces_and_addresses_that_come_and_go_are_followed() {
    let _turn = turn::shared();
    let namespace = Namespace::new("reflector");
    make(&namespace, "here0", "10.7.0.1");
    namespace.ip("link property add dev here0 altname uplink-of-mine");
    let mut reflector = Reflector::spawn(
        &namespace,
        &[
            "--interface",
            "uplink-of-mine",
            "--interface",
            "late0",
            "--interface",
            "late1",
        ],
    );
    reflector.0.wait_for_log("late1", START_DEADLINE);
    let absent = |wanted: Value| move |report: &Value| report["absent"] == wanted;
    wait_for_report(
        &reflector,
        "what is absent",
        absent(json!(["late0", "late1"])),
    );
    wait_for_served(&reflector, &["here0 10.7.0.1"]);
    assert!(!reflector.0.log().contains("\"uplink-of-mine\""));
    make(&namespace, "late0", "10.8.0.1");
    wait_for_served(&reflector, &["here0 10.7.0.1", "late0 10.8.0.1"]);
    wait_for_report(&reflector, "what is absent", absent(json!(["late1"])));
    namespace.ip("address add 10.9.0.9/24 dev late0");
    wait_for_served(
        &reflector,
        &["here0 10.7.0.1", "late0 10.8.0.1", "late0 10.9.0.9"],
    );
    namespace.ip("address del 10.8.0.1/24 dev late0");
    wait_for_served(&reflector, &["here0 10.7.0.1", "late0 10.9.0.9"]);
    namespace.ip("link del late0");
    wait_for_served(&reflector, &["here0 10.7.0.1"]);
    make(&namespace, "late0", "10.8.0.2");
    make(&namespace, "late1", "10.6.0.1");
    wait_for_served(
        &reflector,
        &["here0 10.7.0.1", "late0 10.8.0.2", "late1 10.6.0.1"],
    );
    wait_for_report(&reflector, "what is absent", absent(json!([])));
    // Another device takes the name.
    for name in ["late0", "late0-peer"] {
        namespace.ip(&format!("link set {name} down"));
    }
    namespace.ip("link set late0 name gone0");
    namespace.ip("link set late0-peer name gone0-peer");
    make(&namespace, "late0", "10.5.0.1");
    wait_for_served(
        &reflector,
        &["here0 10.7.0.1", "late0 10.5.0.1", "late1 10.6.0.1"],
    );
    reflector.stop();
}

#[test]
fn an_interface_that_comes_back_reflects_again_on_every_hook() {
    let _turn = turn::shared();
    for hook in ["tc", "clsact"] {
        let site = Plan::new(&["wan1", "wan2"]).build();
        let arguments = ["--interface", "p0", "--interface", "p1", "--hook", hook];
        let reflector = Reflector::start(&site.internet, &arguments);
        // From here on nobody answers but the reflector.
        site.internet.sysctl("net.ipv4.icmp_echo_ignore_all", "1");
        let settings = far_settings(FAR_V4);
        let mut daemon = Daemon::start(&site.router, &settings);
        daemon.wait_for("a first reflection", START_DEADLINE, is_told);
        site.internet.ip("link del p0");
        daemon.wait_until_down("fibre");
        let provider = &site.providers[0].namespace;
        provider.veth("i0", &site.internet, "p0");
        provider.ip("address add 10.255.1.2/24 dev i0");
        provider.ip("route add default via 10.255.1.1");
        site.internet.ip("address add 10.255.1.1/24 dev p0");
        site.internet.ip("route add 10.0.1.2/32 via 10.255.1.2");
        daemon.wait_until_up(&["fibre"]);
        let status = pass_probes(&mut daemon, 20);
        assert!(is_told(&status), "{:#}", directions(&status));
        drop(daemon);
        let report = reflector.stop();
        assert_eq!(report["interfaces"].as_array().map(Vec::len), Some(2));
    }
}
