//! Questions to resolvers, and servers that are known by their names.

use std::net::IpAddr;

use pingu_tests::lab::{
    daemon::Daemon,
    server::NameServer,
    settings::Settings,
    site::{Plan, Site, TARGET},
    status, turn,
};

use super::{DEADLINE, NO_CONTENT, check, first, http_server, wait_for_check, wait_for_request};

/// The resolver is where the uplink that does not carry the default leads to.
fn with_check(lines: &str) -> Settings {
    Settings::quick()
        .uplink("fibre", "wan1", "auto", 88)
        .uplink_with("lte", "wan2", "auto", 89, lines)
}

fn name_server(site: &Site) -> NameServer {
    let long = "x".repeat(200);
    let texts: Vec<String> = (0..5)
        .map(|n| format!("--txt-record=long.example,{n}{long}"))
        .collect();
    let mut options = vec![
        "--host-record=web.example,8.8.8.8",
        "--cname=alias.example,web.example",
        "--host-record=six.example,2001:db8::1",
        "--local=/example/",
    ];
    options.extend(texts.iter().map(String::as_str));
    NameServer::start(&site.internet, TARGET.into(), &options)
}

fn dns(query: &str, more: &str) -> String {
    check(
        "dns",
        &format!("resolver = \"8.8.8.8\"\nquery = \"{query}\"\n{more}"),
    )
}

#[test]
fn a_name_is_asked_for_over_its_uplink_alone() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let server = name_server(&site);
    for provider in &site.providers {
        provider.count("udp dport 53");
    }
    let settings = with_check(&dns("web.example", "expect = [\"8.8.8.8\", \"192.0.2.7\"]"));
    let mut daemon = Daemon::start(&site.router, &settings);
    wait_for_check(&mut daemon, "lte", "up", "web.example is 8.8.8.8");
    let own: IpAddr = site.providers[1].router_address().into();
    server.wait_for_query("web.example", own, DEADLINE);
    assert_eq!(site.providers[0].counted(), 0);
    assert!(site.providers[1].counted() > 0);
}

#[test]
fn a_resolver_s_failures_are_told_apart() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let server = name_server(&site);
    let failures = [
        ("none.example", "", "nxdomain", "NXDOMAIN"),
        ("six.example", "", "dns", "has no A record"),
        ("elsewhere.test", "", "dns", "Refused"),
        (
            "web.example",
            "expect = \"192.0.2.7\"",
            "portal",
            "which is not expected",
        ),
    ];
    for (query, more, cause, says) in failures {
        let settings = with_check(&dns(query, more));
        let mut daemon = Daemon::start(&site.router, &settings);
        let status = wait_for_check(&mut daemon, "lte", "down", says);
        assert_eq!(first(&status, "lte")["cause"], cause, "{status:#}");
        assert!(daemon.stop().success());
    }
    let settings = with_check(&dns("web.example", ""));
    let mut daemon = Daemon::start(&site.router, &settings);
    wait_for_check(&mut daemon, "lte", "up", "web.example is 8.8.8.8");
    site.providers[1].namespace.nft(
        "table inet fault { chain forward { type filter hook forward priority 0; udp dport 53 drop; }\n}\n",
    );
    let status = wait_for_check(&mut daemon, "lte", "down", "does not answer");
    assert_eq!(first(&status, "lte")["cause"], "timeout", "{status:#}");
    assert_eq!(
        status::target(&status, "lte", 0)["state"],
        "up",
        "pings pass"
    );
    site.providers[1].repair();
    wait_for_check(&mut daemon, "lte", "up", "web.example is");
    drop(server);
    let status = wait_for_check(&mut daemon, "lte", "down", "connection refused");
    assert_eq!(first(&status, "lte")["cause"], "refused", "{status:#}");
}

#[test]
fn an_answer_that_is_cut_short_is_fetched_by_tcp() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let _server = name_server(&site);
    for provider in &site.providers {
        provider.count("tcp dport 53");
    }
    let settings = with_check(&dns("long.example", "type = \"TXT\""));
    let mut daemon = Daemon::start(&site.router, &settings);
    wait_for_check(&mut daemon, "lte", "up", "5 records of long.example");
    assert_eq!(site.providers[0].counted(), 0);
    assert!(site.providers[1].counted() >= 3);
}

#[test]
fn a_server_s_name_is_resolved_over_its_uplink() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let names = name_server(&site);
    let server = http_server(&site, NO_CONTENT);
    // All resolvers but the last are dead.
    let resolvers = "resolver = [\"192.0.2.97\", \"192.0.2.98\", \"192.0.2.99\", \"8.8.8.8\"]";
    let lines = format!("url = \"http://alias.example/\"\nstatus = \"2xx\"\n{resolvers}");
    let lines = check("http", &lines)
        .replace("300ms", "4s")
        .replace("250ms", "4s");
    let settings = with_check(&lines);
    let mut daemon = Daemon::start(&site.router, &settings);
    wait_for_check(&mut daemon, "lte", "up", "answers 204");
    let own: IpAddr = site.providers[1].router_address().into();
    names.wait_for_query("alias.example", own, DEADLINE);
    wait_for_request(&server, own);
    let requests = server.requests();
    assert!(
        requests.iter().all(|request| request.from == own),
        "{requests:?}"
    );
    assert!(
        requests[0].head.contains("host: alias.example\r\n"),
        "{requests:?}"
    );
}

#[test]
fn a_given_address_needs_no_resolver_and_a_wrong_name_has_its_cause() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let _names = name_server(&site);
    let server = http_server(&site, NO_CONTENT);
    let given = check(
        "http",
        "name = \"given\"\nurl = \"http://portal.test/\"\nstatus = 204\naddress = \"8.8.8.8\"",
    );
    let unknown = check(
        "http",
        "name = \"unknown\"\nurl = \"http://none.example/\"\nresolver = \"8.8.8.8\"\nrequired = false",
    );
    let settings = with_check(&(given + &unknown));
    let mut daemon = Daemon::start(&site.router, &settings);
    wait_for_check(&mut daemon, "lte", "up", "answers 204");
    let status = daemon.wait_for("the other to fail", DEADLINE, |status| {
        status::uplink(status, "lte")["checks"][1]["state"] == "down"
    });
    let second = &status::uplink(&status, "lte")["checks"][1];
    assert_eq!(second["cause"], "resolve", "{second:#}");
    assert!(
        second["last"]
            .as_str()
            .is_some_and(|last| last.contains("NXDOMAIN")),
        "{second:#}"
    );
    assert!(server.requests()[0].head.contains("host: portal.test\r\n"));
}
