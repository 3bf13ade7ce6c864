//! Causes on a real kernel: who says what of a probe that is not answered, and a target that answers only so many.

use std::time::Duration;

use pingu_tests::lab::{
    daemon::{self, Daemon},
    forger::{Deed, Forger},
    settings::Settings,
    site::Plan,
    status::{self, counter},
    turn,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// The provider's table of faults.
const FAULT: &str = "inet fault";

fn cause(target: &serde_json::Value, name: &str) -> u64 {
    let causes = target["causes"].as_array().into_iter().flatten();
    let of_name = causes.filter(|cause| cause["cause"] == name);
    of_name.map(|cause| counter(cause, "count")).sum()
}

#[test]
fn a_provider_that_prohibits_is_quoted_in_status_and_why() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let settings = Settings::quick().uplink("fibre", "wan1", "auto", 88);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre"]);
    site.providers[0].namespace.nft(&format!(
        "table {FAULT} {{ chain forward {{ type filter hook forward priority 0;\n\
         icmp type echo-request reject with icmp type admin-prohibited\n}}\n}}\n"
    ));
    daemon.wait_until_down("fibre");
    let said = "communication administratively prohibited (type 3, code 13)";
    let status = daemon.wait_for("the provider to be quoted", DEADLINE, |status| {
        status::reason(status, "fibre").contains(said)
    });
    let target = status::target(&status, "fibre", 0);
    assert!(cause(target, "icmp-error") > 0, "{target:#}");
    let gateway = site.providers[0].gateway().to_string();
    assert!(
        status::reason(&status, "fibre").contains(&gateway),
        "{status:#}"
    );
    let socket = settings.socket();
    let told = daemon::run_to_end(
        &site.router,
        &["why", "fibre", "--socket", &socket.display().to_string()],
    );
    let text = told.stdout;
    assert!(
        text.contains(said) && text.contains("fibre (wan1) is down"),
        "{text}"
    );
}

#[test]
fn a_target_that_limits_its_answers_is_asked_for_fewer_and_stays_up() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    site.providers[0].namespace.nft(&format!(
        "table {FAULT} {{ chain forward {{ type filter hook forward priority 0;\n\
         icmp type echo-reply limit rate 10/second burst 5 packets accept\nicmp type echo-reply drop\n}}\n}}\n"
    ));
    let settings = Settings::new()
        .probe("targets = [\"8.8.8.8\"]\ncount = 10\nspacing = \"10ms\"\nperiod = \"500ms\"\ntimeout = \"200ms\"")
        .health("max_lost = 2")
        .uplink("fibre", "wan1", "auto", 88);
    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_for("the limit to be found", DEADLINE, |status| {
        status::target(status, "fibre", 0)["rate_limited"].is_number()
    });
    assert_eq!(status::state(&status, "fibre"), "up", "{status:#}");
    assert!(
        status::reason(&status, "fibre").contains("rate-limited"),
        "{status:#}"
    );
    let lost = counter(status::target(&status, "fibre", 0), "lost");
    let sent = counter(status::target(&status, "fibre", 0), "sent");
    let status = daemon.wait_for("forty probes more", DEADLINE, |status| {
        counter(status::target(status, "fibre", 0), "sent") >= sent + 40
    });
    let target = status::target(&status, "fibre", 0);
    assert_eq!(counter(target, "lost"), lost, "{target:#}");
    assert_eq!(cause(target, "no-reply"), lost, "{target:#}");
}

#[test]
fn a_target_that_limits_its_answers_is_asked_less_often_one_by_one() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    site.providers[0].namespace.nft(&format!(
        "table {FAULT} {{ chain forward {{ type filter hook forward priority 0;\n\
         icmp type echo-reply limit rate 20/second burst 2 packets accept\nicmp type echo-reply drop\n}}\n}}\n"
    ));
    let settings = Settings::new()
        .probe("targets = [\"8.8.8.8\"]\nmode = \"rolling\"\ninterval = \"10ms\"\nwindow = \"2s\"\ntimeout = \"100ms\"")
        .uplink("fibre", "wan1", "auto", 88);
    let mut daemon = Daemon::start(&site.router, &settings);
    let status = daemon.wait_for("the limit to be found", DEADLINE, |status| {
        status::target(status, "fibre", 0)["rate_limited_interval_ms"].is_number()
    });
    let interval_ms = &status::target(&status, "fibre", 0)["rate_limited_interval_ms"];
    assert!(interval_ms.as_f64().unwrap() >= 50.0, "{status:#}");
    daemon.wait_for("the window to forget the losses", DEADLINE, |status| {
        status::state(status, "fibre") == "up"
            && status::reason(status, "fibre").contains("rate-limited")
    });
    let told = daemon::run_to_end(
        &site.router,
        &["why", "--socket", &settings.socket().display().to_string()],
    );
    assert!(
        told.stdout.contains("drops what is asked oftener"),
        "{}",
        told.stdout
    );
}

#[test]
fn duplicates_and_forgeries_are_told_as_soon_as_somebody_asks() {
    let _turn = turn::shared();
    tell_packets_beside("ebpf");
}

#[test]
fn by_sockets_duplicates_and_forgeries_are_told_as_soon_as_somebody_asks() {
    let _turn = turn::shared();
    tell_packets_beside("socket");
}

fn tell_packets_beside(engine: &str) {
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = Settings::new()
        .top(&format!("engine = \"{engine}\""))
        .probe("targets = [\"8.8.8.8\"]\nmode = \"rolling\"\ninterval = \"200ms\"\nwindow = \"60s\"\ntimeout = \"200ms\"")
        .uplink("fibre", "wan1", "auto", 88)
        .uplink("lte", "wan2", "auto", 89);
    let forger = Forger::start(&site, 0, 1);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    // The target answers as well, and comes first or second.
    forger.turn_to(Deed::Answer);
    daemon.wait_for("duplicates to be told", DEADLINE, |status| {
        cause(status::target(status, "fibre", 0), "duplicate") >= 3
    });
    forger.turn_to(Deed::Forge);
    let status = daemon.wait_for("forgeries to be told", DEADLINE, |status| {
        cause(status::target(status, "fibre", 0), "forged") >= 3
    });
    let target = status::target(&status, "fibre", 0);
    assert!(
        counter(target, "sent") < 128,
        "no slot has been used again: {target:#}"
    );
    // The counts of what is done with stay as they are, however often one asks.
    forger.turn_to(Deed::Remember);
    let sent = counter(target, "sent");
    let status = daemon.wait_for("the last forgeries to be told", DEADLINE, |status| {
        counter(status::target(status, "fibre", 0), "sent") >= sent + 5
    });
    let told = |status: &serde_json::Value| {
        let target = status::target(status, "fibre", 0);
        (cause(target, "duplicate"), cause(target, "forged"))
    };
    for _ in 0..5 {
        assert_eq!(told(&daemon.status().expect("it answers")), told(&status));
    }
    let socket = settings.socket();
    let why = daemon::run_to_end(
        &site.router,
        &["why", "fibre", "--socket", &socket.display().to_string()],
    );
    for (count, name) in [(told(&status).0, "duplicate"), (told(&status).1, "forged")] {
        let line = format!("{count} x {name}");
        assert!(why.stdout.contains(&line), "{line}: {}", why.stdout);
    }
}
