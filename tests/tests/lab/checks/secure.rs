//! HTTPS: certificates that are right, and those that are not.

use std::net::SocketAddr;

use pingu_tests::lab::{
    daemon::Daemon,
    server::{HttpServer, TlsServer},
    settings::Settings,
    site::{Plan, TARGET},
    status, turn,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::{DEADLINE, check, first, wait_for_check};

/// An authority, and a certificate of its for a name.
fn certified(name: &str) -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("no name is a good name");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key can be made");
    let authority = CertifiedIssuer::self_signed(params, key).expect("an authority can be made");
    let key = KeyPair::generate().expect("a key can be made");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("the name is good");
    let certificate = params
        .signed_by(&key, &authority)
        .expect("an authority can sign");
    (authority.pem(), certificate.pem(), key.serialize_pem())
}

#[test]
fn a_certificate_must_be_right_unless_that_is_not_asked_for() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let (authority, certificate, key) = certified("web.example");
    let server = TlsServer::start(&site.internet, "8.8.8.8:443", &certificate, &key);
    let authority = server.file("authority.pem", &authority);
    let https = |name: &str, url: &str, more: &str| {
        let lines = format!(
            "name = \"{name}\"\nurl = \"{url}\"\naddress = \"8.8.8.8\"\nrequired = false\n{more}"
        );
        check("https", &lines)
    };
    let trusting = format!("ca_file = \"{authority}\"");
    let checks = [
        https("right", "https://web.example/", &trusting),
        https("other name", "https://mail.example/", &trusting),
        https("stranger", "https://web.example/", ""),
        https("whoever", "https://mail.example/", "verify = false"),
        https(
            "no file",
            "https://web.example/",
            "ca_file = \"/nonexistent/authority.pem\"",
        ),
        https(
            "status",
            "https://web.example/",
            &format!("{trusting}\nstatus = 204"),
        ),
    ];
    for provider in &site.providers {
        provider.count("tcp dport 443");
    }
    let settings = Settings::quick()
        .uplink("fibre", "wan1", "auto", 88)
        .uplink_with("lte", "wan2", "auto", 89, &checks.concat());
    let mut daemon = Daemon::start(&site.router, &settings);
    for (index, state, cause, says) in [
        (0, "up", None, "answers 200"),
        (
            1,
            "down",
            Some("tls"),
            "no right certificate for mail.example",
        ),
        (2, "down", Some("tls"), "UnknownIssuer"),
        (3, "up", None, "answers 200"),
        (
            4,
            "unknown",
            Some("local"),
            "cannot read /nonexistent/authority.pem",
        ),
        // Who has the right certificate is no portal.
        (5, "down", Some("status"), "answers 200"),
    ] {
        let status = daemon.wait_for(
            &format!("check {index} to be {state}"),
            DEADLINE,
            |status| {
                let check = &status::uplink(status, "lte")["checks"][index];
                check["state"] == state && !check["last"].is_null()
            },
        );
        let check = &status::uplink(&status, "lte")["checks"][index];
        assert_eq!(check["cause"].as_str(), cause, "{check:#}");
        assert!(
            check["last"]
                .as_str()
                .is_some_and(|last| last.contains(says)),
            "{check:#}"
        );
    }
    assert_eq!(site.providers[0].counted(), 0);
    let status = daemon.status().expect("pingu answers");
    assert_eq!(status::state(&status, "lte"), "up", "none is required");
}

#[test]
fn what_does_not_speak_tls_has_its_cause() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let address = SocketAddr::new(TARGET.into(), 443);
    let _server = HttpServer::start(&site.internet, &[address], "HTTP/1.1 400 Bad\r\n\r\n");
    let settings = Settings::quick()
        .uplink("fibre", "wan1", "auto", 88)
        .uplink_with(
            "lte",
            "wan2",
            "auto",
            89,
            &check("https", "url = \"https://8.8.8.8/\""),
        );
    let mut daemon = Daemon::start(&site.router, &settings);
    // This server waits for a whole head before it says anything, and a greeting of TLS is none.
    let status = wait_for_check(&mut daemon, "lte", "down", "8.8.8.8");
    let cause = first(&status, "lte")["cause"].as_str();
    assert!(matches!(cause, Some("tls" | "timeout")), "{status:#}");
}
