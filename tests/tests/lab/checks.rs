//! Checks of uplinks against real servers: each leaves by its uplink whatever the main table says, and its failure has a cause.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use pingu_tests::lab::{
    daemon::Daemon,
    server::HttpServer,
    settings::Settings,
    site::{Plan, Site, TARGET},
    status, turn,
    wait::wait_until,
};
use serde_json::Value;

mod costs;
mod far_ends;
mod names;
mod portal;
mod programs;
mod secure;
mod sizes;
mod ways;

const DEADLINE: Duration = Duration::from_secs(10);

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// A check that is run often.
fn check(kind: &str, lines: &str) -> String {
    format!(
        "[[uplink.check]]\nkind = \"{kind}\"\nevery = \"300ms\"\ntimeout = \"250ms\"\n{lines}\n"
    )
}

/// Two uplinks, both with this check.
fn both_with(checks: &str) -> Settings {
    Settings::quick()
        .uplink_with("fibre", "wan1", "auto", 88, checks)
        .uplink_with("lte", "wan2", "auto", 89, checks)
}

fn http_server(site: &Site, answer: &str) -> HttpServer {
    let address = SocketAddr::new(TARGET.into(), 80);
    HttpServer::start(&site.internet, &[address], answer)
}

/// The first check of an uplink.
#[track_caller]
fn first<'a>(status: &'a Value, uplink: &str) -> &'a Value {
    let check = &status::uplink(status, uplink)["checks"][0];
    assert!(check.is_object(), "`{uplink}` has no check: {status:#}");
    check
}

/// Waits until the first check of an uplink has this state, and a last run that says this.
#[track_caller]
fn wait_for_check(daemon: &mut Daemon, uplink: &str, state: &str, says: &str) -> Value {
    let what = format!("the check of {uplink} to be {state} and to say {says:?}");
    daemon.wait_for(&what, DEADLINE, |status| {
        let check = first(status, uplink);
        check["state"] == state
            && check["last"]
                .as_str()
                .is_some_and(|last| last.contains(says))
    })
}

/// Waits until a server was asked by this address.
#[track_caller]
fn wait_for_request(server: &HttpServer, from: IpAddr) {
    wait_until("a request", DEADLINE, || {
        let requests = server.requests();
        if requests.iter().any(|request| request.from == from) {
            Ok(())
        } else {
            Err(format!("{requests:?}"))
        }
    });
}

#[test]
fn without_checks_there_is_no_rule_and_no_table() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let rules = || site.router.ip("-4 rule show") + &site.router.ip("-6 rule show");
    let before = rules();
    let settings = both_with("");
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    assert_eq!(rules(), before);
    assert!(daemon.stop().success());
}
