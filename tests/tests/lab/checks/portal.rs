//! HTTP, and captive portals that let pings pass.

use std::net::{Ipv4Addr, SocketAddr};

use pingu_tests::lab::{
    daemon::{self, Daemon},
    route_watch,
    server::HttpServer,
    settings::Settings,
    site::{Plan, TARGET},
    status, turn,
};

use super::{DEADLINE, NO_CONTENT, both_with, check, first, http_server, wait_for_check};

const PORTAL_PORT: u16 = 8080;
const LOGIN: &str =
    "HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\nContent-Length: 0\r\n\r\n";

#[test]
fn a_portal_that_answers_pings_is_found_and_its_uplink_is_down_until_it_lets_through() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let _server = http_server(&site, NO_CONTENT);
    let everywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), PORTAL_PORT);
    let portal = HttpServer::start(&site.providers[0].namespace, &[everywhere], LOGIN);
    site.providers[0].capture_http(PORTAL_PORT);
    let checks = check(
        "http",
        "name = \"web\"\nurl = \"http://8.8.8.8/generate_204\"\nstatus = 204",
    );
    let settings = both_with(&checks);
    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_until_down("fibre");
    assert_eq!(
        status::reason(&status, "fibre"),
        "check web: captive portal: 302 to http://login.example/"
    );
    assert_eq!(first(&status, "fibre")["cause"], "portal");
    daemon.wait_for("pings to pass all the same", DEADLINE, |status| {
        status::target(status, "fibre", 0)["state"] == "up"
            && status::state(status, "fibre") == "down"
    });
    daemon.wait_until_up(&["lte"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
    let socket = settings.socket().display().to_string();
    let told = daemon::run_to_end(&site.router, &["why", "fibre", "--socket", &socket]).stdout;
    assert!(
        told.contains("  Check web (kind http) is down since ")
            && told.contains(": captive portal: 302 to http://login.example/.\n"),
        "{told}"
    );
    let asked = portal.requests();
    assert!(
        asked[0].head.starts_with("GET /generate_204 HTTP/1.1\r\n"),
        "{asked:?}"
    );
    assert!(
        asked[0].head.to_lowercase().contains("host: 8.8.8.8\r\n"),
        "{asked:?}"
    );

    // It answers in place of the server in other ways, too.
    for (answer, says) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlogin",
            "captive portal: 200",
        ),
        (
            "HTTP/1.1 511 Network Authentication Required\r\n\r\n",
            "captive portal: 511",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            "captive portal: 403",
        ),
    ] {
        portal.answer(answer);
        let status = wait_for_check(&mut daemon, "fibre", "down", says);
        assert_eq!(first(&status, "fibre")["cause"], "portal", "{status:#}");
    }
    for (answer, cause) in [
        (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
            "status",
        ),
        (
            "HTTP/1.1 301 Moved\r\nLocation: https://8.8.8.8/\r\n\r\n",
            "status",
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n", "broken"),
        ("", "broken"),
    ] {
        portal.answer(answer);
        daemon.wait_for(
            &format!("the cause {cause} of {answer:?}"),
            DEADLINE,
            |status| first(status, "fibre")["cause"] == cause,
        );
    }
    site.providers[0].release_http();
    daemon.wait_until_up(&["fibre", "lte"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
}

#[test]
fn the_body_is_looked_into_as_far_as_it_may_be() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let server = http_server(&site, "HTTP/1.1 200 OK\r\n\r\nall is well\n");
    let checks = check("http", "url = \"http://8.8.8.8/\"\nbody = \"is well\"");
    let settings = Settings::quick()
        .uplink("fibre", "wan1", "auto", 88)
        .uplink_with("lte", "wan2", "auto", 89, &checks);
    let mut daemon = Daemon::start(&site.router, &settings);
    wait_for_check(&mut daemon, "lte", "up", "answers 200");
    server.answer("HTTP/1.1 200 OK\r\n\r\nall is not so well\n");
    let status = wait_for_check(&mut daemon, "lte", "down", "200 without the expected text");
    assert_eq!(first(&status, "lte")["cause"], "portal");
    // Chunked, and cut where the text is.
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nis w\r\n3\r\nell\r\n0\r\n\r\n";
    server.answer(chunked);
    wait_for_check(&mut daemon, "lte", "up", "answers 200");
    let far = format!("HTTP/1.1 200 OK\r\n\r\n{}is well", "x".repeat(70_000));
    server.answer(&far);
    wait_for_check(&mut daemon, "lte", "down", "without the expected text");
    let near = format!("HTTP/1.1 200 OK\r\n\r\n{}is well", "x".repeat(60_000));
    server.answer(&near);
    wait_for_check(&mut daemon, "lte", "up", "answers 200");
    // An endless head is no answer.
    server.answer(&format!(
        "HTTP/1.1 200 OK\r\nX: {}\r\n\r\nis well",
        "y".repeat(100_000)
    ));
    wait_for_check(&mut daemon, "lte", "down", "does not speak HTTP");
}
