//! What checks are said to cost, and what the kernel counts on their interfaces.

use std::{net::SocketAddr, time::Duration};

use pingu_tests::lab::{
    daemon::Daemon,
    namespace::Namespace,
    server::{HttpServer, NameServer},
    settings::Settings,
    site::{Plan, TARGET},
    status, turn,
};
use serde_json::Value;

use super::{check, http_server};

/// Many runs of each check on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Address resolution and router discovery pass there as well, and the last run may not be over.
const DIFFERENCE_MAX: f64 = 0.15;

/// Bytes that came in and left by an interface, with their link headers.
fn passed(router: &Namespace, interface: &str) -> f64 {
    let links = router.ip(&format!("-statistics -json link show dev {interface}"));
    let links: Value = serde_json::from_str(&links).expect("iproute2 writes JSON");
    let of = |way: &str| {
        let bytes = links[0]["stats64"][way]["bytes"].as_f64();
        bytes.unwrap_or_else(|| panic!("no bytes in {links}"))
    };
    of("rx") + of("tx")
}

fn spent(status: &Value, uplink: &str) -> f64 {
    let spent = status::uplink(status, uplink)["spent"].as_f64();
    spent.unwrap_or_else(|| panic!("nothing is said of costs: {status:#}"))
}

#[test]
fn what_checks_are_said_to_cost_is_what_passes_their_interface() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let body = "x".repeat(30_000);
    let server = http_server(&site, &format!("HTTP/1.1 200 OK\r\n\r\n{body} is well"));
    let silent = SocketAddr::new(TARGET.into(), 81);
    let _accepting = HttpServer::start(&site.internet, &[silent], "");
    let _names = NameServer::start(
        &site.internet,
        TARGET.into(),
        &["--host-record=web.example,8.8.8.8"],
    );
    let http = check("http", "url = \"http://8.8.8.8/\"\nbody = \"is well\"");
    let small = [
        check("tcp", "address = \"8.8.8.8:81\""),
        check(
            "tcp",
            "name = \"refused\"\naddress = \"8.8.8.8:82\"\nrequired = false",
        ),
        check("dns", "resolver = \"8.8.8.8\"\nquery = \"web.example\""),
        check("mtu", "target = \"8.8.8.8\"\nsize = 576"),
    ];
    // Pings are a small part of all this.
    let settings = Settings::new()
        .probe("targets = [\"8.8.8.8\"]\ncount = 2\nperiod = \"2s\"\ntimeout = \"1s\"")
        .health("max_lost = 1")
        .uplink_with("small", "wan1", "auto", 88, &small.concat())
        .uplink_with("large", "wan2", "auto", 89, &http);
    let mut daemon = Daemon::start(&site.router, &settings);
    let begin = daemon.wait_until_up(&["small", "large"]);
    let before = [("small", "wan1"), ("large", "wan2")]
        .map(|(uplink, interface)| (passed(&site.router, interface), spent(&begin, uplink)));
    let asked = server.requests().len();
    let last = daemon.wait_for("many runs", DEADLINE, |status| {
        server.requests().len() >= asked + 30 && spent(status, "small") > before[0].1 + 60_000.0
    });
    for (index, (uplink, interface)) in [("small", "wan1"), ("large", "wan2")]
        .into_iter()
        .enumerate()
    {
        let (passed_before, spent_before) = before[index];
        let passed = passed(&site.router, interface) - passed_before;
        let spent = spent(&last, uplink) - spent_before;
        let difference = (spent - passed).abs() / passed;
        println!("{uplink}: {spent} bytes are counted, {passed} passed");
        assert!(
            difference < DIFFERENCE_MAX,
            "{uplink}: {spent} bytes are counted where {passed} passed: {last:#}"
        );
    }
    for check in status::uplink(&last, "small")["checks"]
        .as_array()
        .expect("it has checks")
    {
        assert!(check["cost_bytes"].as_u64() > Some(60), "{check:#}");
    }
    let cost = status::uplink(&last, "large")["checks"][0]["cost_bytes"].as_u64();
    assert!(cost > Some(30_000), "{last:#}");
}
