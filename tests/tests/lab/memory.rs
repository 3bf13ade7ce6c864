//! What one run of the daemon tells the next: learned gateways, and what becomes of a memory that is missing, stale or unwritable.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use pingu_tests::lab::{
    daemon::Daemon,
    namespace::Namespace,
    route_watch, routes,
    settings::Settings,
    site::{LEARNED_METRIC, Plan, Site, TARGET},
    status,
    tun::Tun,
    turn,
    wait::wait_until,
};
use serde_json::{Value, json};

use crate::running::two_uplinks;

const DEADLINE: Duration = Duration::from_secs(10);

/// The daemon was killed and every default is gone; its memory is what the test makes of it.
fn killed_and_flushed(site: &Site, settings: &Settings) {
    let mut daemon = Daemon::start(&site.router, settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    wait_until("the memory", DEADLINE, || {
        let text = fs::read_to_string(memory(settings)?).map_err(|error| error.to_string())?;
        if text.contains("fibre") && text.contains("lte") {
            Ok(())
        } else {
            Err(text)
        }
    });
    daemon.kill();
    flush(&site.router);
}

fn flush(router: &Namespace) {
    router.ip("-4 route flush exact 0.0.0.0/0");
    assert_eq!(routes::defaults(router), Vec::<String>::new());
    assert_eq!(route_watch::way_to(router, TARGET), None);
}

/// The memory's file.
fn memory(settings: &Settings) -> Result<PathBuf, String> {
    let directory = settings.directory().join("state");
    let entries = fs::read_dir(&directory).map_err(|error| error.to_string())?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| name(path).starts_with("memory-136-") && name(path).ends_with(".json"))
        .ok_or_else(|| format!("no memory in {}", directory.display()))
}

fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[test]
fn a_gateway_that_dhcp_taught_brings_the_default_back_after_a_kill_and_a_flush() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).same_gateway().dhcp().build();
    let settings = two_uplinks(Settings::quick());
    killed_and_flushed(&site, &settings);

    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_until_up(&["fibre", "lte"]);
    assert_eq!(
        status::uplink(&status, "fibre")["gateway"],
        site.providers[0].gateway().to_string()
    );
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    assert!(routes::own_over(&site.router, "wan2").is_some());
}

/// What SIGUSR1 has the daemon print.
fn knowledge(daemon: &mut Daemon) -> Value {
    let lines = |log: &str| -> Vec<String> {
        let json = log.lines().filter(|line| line.starts_with('{'));
        json.map(str::to_owned).collect()
    };
    let before = lines(&daemon.process().log()).len();
    daemon.process().signal(libc::SIGUSR1);
    let mut printed = None;
    wait_until("a line of JSON", DEADLINE, || {
        let log = daemon.process().log();
        let line = lines(&log).get(before).cloned().ok_or(log)?;
        printed = Some(serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))?);
        Ok(())
    });
    printed.expect("it was waited for")
}

#[test]
fn sigusr1_prints_what_is_known_of_gateways_as_one_line_of_json() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let _tun = Tun::start(&site.router, "tun0");
    site.router.ip("address add 10.99.0.2/32 dev tun0");
    let settings = two_uplinks(Settings::quick())
        .uplink("dsl", "tun0", "none", 90)
        .uplink("given", "wan2", "10.0.2.99", 91)
        .uplink("absent", "wan9", "auto", 92);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte", "dsl"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    daemon.wait_for("the own route", DEADLINE, |status| {
        status["active"] == "fibre"
    });
    let first = knowledge(&mut daemon);
    let of = |name: &str| first["gateways"][name].clone();
    assert_eq!(
        of("fibre"),
        json!({"interface": "wan1", "ipv4": "10.0.1.1", "ipv6": null, "device": false,
            "source": {"ipv4": "10.0.1.2", "ipv6": null}, "origin": {"ipv4": "route", "ipv6": null}})
    );
    assert_eq!(
        (&of("dsl")["device"], &of("dsl")["ipv4"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(of("given")["ipv4"], "10.0.2.99");
    assert_eq!(of("given")["origin"]["ipv4"], "configuration");
    assert_eq!(of("absent")["ipv4"], Value::Null);
    assert_eq!(first["active"], "fibre");

    site.router.ip("-4 route del default dev wan1 proto dhcp");
    let mut origin = Value::Null;
    wait_until("the memory to be named", DEADLINE, || {
        origin = knowledge(&mut daemon)["gateways"]["fibre"]["origin"]["ipv4"].clone();
        if origin == "memory" {
            Ok(())
        } else {
            Err(origin.to_string())
        }
    });
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_remembered_gateway_waits_for_its_address_and_yields_to_a_route() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = two_uplinks(Settings::quick());
    killed_and_flushed(&site, &settings);
    let old = site.providers[0].router_address();
    site.router.ip_batch(&format!(
        "address del {old}/24 dev wan1\naddress add 10.0.1.77/24 dev wan1\n"
    ));

    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_until_up(&["lte"]);
    assert_ne!(status::state(&status, "fibre"), "up");
    assert!(status::uplink(&status, "fibre")["gateway"].is_null());
    assert!(routes::own_over(&site.router, "wan1").is_none());

    site.router.ip_batch(&format!(
        "address del 10.0.1.77/24 dev wan1\naddress add {old}/24 dev wan1\n"
    ));
    daemon.wait_until_up(&["fibre"]);
    site.router
        .ip("route add default via 10.0.1.99 dev wan1 metric 1000 proto dhcp");
    daemon.wait_for("the gateway that the route names", DEADLINE, |status| {
        status::uplink(status, "fibre")["gateway"] == "10.0.1.99"
    });
}

#[test]
fn a_broken_or_missing_memory_is_no_obstacle() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = two_uplinks(Settings::quick());
    killed_and_flushed(&site, &settings);
    let file = memory(&settings).unwrap();
    let good = fs::read_to_string(&file).unwrap();
    for broken in ["", "{\"schema\":1,\"gateways\":7}", &good[..good.len() / 2]] {
        fs::write(&file, broken).unwrap();
        let mut daemon = Daemon::start(&site.router, &settings);
        let status = daemon.wait_for("a status", DEADLINE, |_| true);
        assert!(
            status::uplink(&status, "fibre")["gateway"].is_null(),
            "{broken}: {status:#}"
        );
        let log = daemon.process().log();
        assert!(log.contains("unreadable"), "{log}");
        daemon.kill();
    }
    for (provider, metric) in site.providers.iter().zip(LEARNED_METRIC..) {
        provider.leave_default(&site.router, metric);
    }
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    wait_until("another memory", DEADLINE, || {
        match fs::read_to_string(&file) {
            Ok(text) if text.contains("fibre") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

#[test]
fn a_state_directory_that_cannot_be_written_costs_one_warning_and_nothing_else() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = two_uplinks(Settings::quick());
    fs::write(settings.directory().join("state"), "a file in its place").unwrap();
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    site.providers[0].black_hole();
    daemon.wait_until_down("fibre");
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
    let log = daemon.process().log();
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    assert!(log.contains("memory for the next start"), "{log}");
    assert_eq!(daemon.stop().code(), Some(0));
}
