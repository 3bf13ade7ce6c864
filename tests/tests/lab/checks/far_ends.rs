//! A server that dies is not two dead uplinks; one that an uplink does not reach is that uplink's fault.

use std::net::{Ipv4Addr, SocketAddr};

use pingu_tests::lab::{
    daemon::Daemon,
    route_watch,
    server::HttpServer,
    site::{Plan, TARGET},
    status, turn,
    wait::wait_until,
};
use serde_json::Value;

use super::{DEADLINE, NO_CONTENT, both_with, check, first, wait_for_check};

/// Of the internet's host as well, but no target of probes.
const SERVER: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);

const DEAD: &str = "check web fails over every uplink: its far end is taken to be dead";

const GATEWAY_ERROR: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

fn left_out(status: &Value) -> bool {
    ["fibre", "lte"]
        .iter()
        .all(|uplink| first(status, uplink)["left_out"] == true)
}

#[test]
fn a_server_that_dies_moves_no_route_and_one_that_an_uplink_alone_does_not_reach_does() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let address = SocketAddr::new(SERVER.into(), 80);
    let server = HttpServer::start(&site.internet, &[address], NO_CONTENT);
    let lines = format!("name = \"web\"\nurl = \"http://{SERVER}/\"\nstatus = 204");
    let settings = both_with(&check("http", &lines));
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    for uplink in ["fibre", "lte"] {
        wait_for_check(&mut daemon, uplink, "up", "answers 204");
    }
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    let started = daemon.status().expect("pingu answers");
    let since = |status: &Value, uplink: &str| status::uplink(status, uplink)["since"].clone();
    let own = site.router.ip("-4 route show default proto 136");

    // It fails in one way, then in another: it is gone.
    server.answer(GATEWAY_ERROR);
    daemon.wait_for("the far end to be dead", DEADLINE, left_out);
    drop(server);
    let status = daemon.wait_for("it to be dead still", DEADLINE, |status| {
        left_out(status) && first(status, "lte")["cause"] == "refused"
    });
    assert!(
        status::reason(&status, "fibre").contains(DEAD),
        "{status:#}"
    );
    assert!(status["warnings"].to_string().contains(DEAD), "{status:#}");
    assert_eq!(status["active"], "fibre", "{status:#}");
    for uplink in ["fibre", "lte"] {
        assert_eq!(status::state(&status, uplink), "up", "{status:#}");
        let (before, after) = (since(&started, uplink), since(&status, uplink));
        assert_eq!(before, after, "{uplink} has not fallen for a moment");
    }
    assert_eq!(site.router.ip("-4 route show default proto 136"), own);

    // It comes back, and the first uplink does not reach it.
    site.providers[0].block(&[SERVER]);
    let server = HttpServer::start(&site.internet, &[address], NO_CONTENT);
    let status = daemon.wait_until_down("fibre");
    assert_eq!(status::state(&status, "lte"), "up", "{status:#}");
    assert_eq!(since(&started, "lte"), since(&status, "lte"));
    assert!(!status["warnings"].to_string().contains(DEAD), "{status:#}");
    assert_eq!(first(&status, "fibre")["cause"], "timeout", "{status:#}");
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);

    // That is not forgiven when it dies again, and the other uplink does not fall for it.
    server.answer(GATEWAY_ERROR);
    let status = daemon.wait_for("it to be dead again", DEADLINE, |status| {
        first(status, "lte")["left_out"] == true
    });
    assert_eq!(status::state(&status, "fibre"), "down", "{status:#}");
    assert_eq!(since(&started, "lte"), since(&status, "lte"));
    server.answer(NO_CONTENT);
    site.providers[0].repair();
    daemon.wait_until_up(&["fibre", "lte"]);
    wait_until("traffic to go back", DEADLINE, || {
        let status = daemon.status()?;
        let is_back = status["active"] == "fibre";
        is_back.then_some(()).ok_or_else(|| status.to_string())
    });
}
