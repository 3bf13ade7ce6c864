//! Traffic that is like none that a household has, and what passing traffic then means.

use std::{net::IpAddr, time::Duration};

use pingu_tests::lab::{
    chatter::Chatter,
    daemon::Daemon,
    site::{SECOND_TARGET, Site},
    status, turn,
    worker::Worker,
};
use serde_json::Value;

use crate::{passive, running::running};

const DEADLINE: Duration = Duration::from_secs(60);

/// Where nobody is, and nobody says so.
const DEAD: [u8; 4] = [198, 51, 100, 9];

fn swallow(site: &Site) {
    site.internet.ip("route add blackhole 198.51.100.9/32");
}

fn handshakes(status: &Value, name: &str) -> u64 {
    status::counter(&status::uplink(status, "fibre")["handshakes"], name)
}

fn sent(status: &Value) -> u64 {
    status::counter(status::target(status, "fibre", 0), "sent")
}

fn cause(status: &Value) -> &Value {
    &status::uplink(status, "fibre")["cause"]
}

/// Begins connections without end, and waits for none.
fn flood(site: &Site, to: IpAddr) -> Worker<()> {
    site.lan.worker("flood", move |stop| {
        let to = (to, 80).into();
        while !stop.is_wanted() {
            // None is answered.
            let _ = std::net::TcpStream::connect_timeout(&to, Duration::from_millis(10));
        }
    })
}

#[test]
fn one_host_that_floods_a_dead_address_makes_no_portal_of_an_uplink_that_others_use() {
    let _turn = turn::shared();
    let settings = passive::settings("period = \"500ms\"", "handshakes = \"judge\"");
    let (site, mut daemon) = passive::with_servers(&settings);
    swallow(&site);
    let user = SECOND_TARGET.into();
    let _user = Chatter::connections(&site.lan, user, Duration::from_millis(500));
    daemon.wait_for("handshakes to be answered", DEADLINE, |status| {
        handshakes(status, "answered") >= 2
    });
    let _flood = flood(&site, DEAD.into());
    let status = daemon.wait_for("a flood", DEADLINE, |status| {
        let (begun, answered) = (handshakes(status, "begun"), handshakes(status, "answered"));
        begun >= 1_000 && begun > answered * 25
    });
    assert_eq!(status::state(&status, "fibre"), "up", "{status:#}");
    assert_eq!(cause(&status), &Value::Null, "{status:#}");
}

#[test]
fn a_flow_that_nobody_answers_is_asked_about_once() {
    let _turn = turn::shared();
    let settings = passive::settings("period = \"60s\"\nsilence = \"500ms\"", "");
    let (site, mut daemon) = running(&settings);
    swallow(&site);
    let before = sent(&daemon.status().expect("it runs"));
    let _flow = Chatter::datagrams(&site.lan, DEAD.into(), Duration::from_millis(20));
    daemon.wait_for("the immediate burst", DEADLINE, |status| {
        sent(status) > before
    });
    let status = daemon.wait_for("many times the silence", DEADLINE, |status| {
        let traffic = &status::uplink(status, "fibre")["traffic"];
        status::counter(traffic, "egress_packets") >= 500
    });
    println!("sent before {before}, now {}", sent(&status));
    assert!(sent(&status) <= before + 2 * 3, "{status:#}");
    assert_eq!(status::state(&status, "fibre"), "up");
}

#[test]
fn traffic_of_the_other_family_saves_probes_as_well() {
    let _turn = turn::shared();
    let settings = passive::settings(
        "period = \"500ms\"\nprobe_when = \"idle\"\nsilence = \"0s\"",
        "",
    );
    let (site, mut daemon) = running(&settings);
    let ways = site.providers[0].gateway_v6().to_string();
    let mut ping = site.router.command("ping");
    ping.args(["-6", "-q", "-i", "0.02", &ways]);
    ping.stdout(std::process::Stdio::null());
    let mut ping = ping.spawn().expect("there is such a program");
    let skipped = daemon.wait_for("bursts to be left out", DEADLINE, |status| {
        status::counter(status::target(status, "fibre", 0), "skipped") >= 5
    });
    ping.kill().expect("it runs");
    ping.wait().expect("it ran");
    assert_eq!(status::state(&skipped, "fibre"), "up");
}

#[test]
fn pieces_of_packets_are_traffic() {
    let _turn = turn::shared();
    let settings = passive::settings(
        "period = \"500ms\"\nprobe_when = \"idle\"\nsilence = \"0s\"",
        "",
    );
    let (site, mut daemon) = running(&settings);
    let mut ping = site.lan.command("ping");
    ping.args(["-q", "-s", "8000", "-i", "0.02", "8.8.4.4"]);
    ping.stdout(std::process::Stdio::null());
    let mut ping = ping.spawn().expect("there is such a program");
    daemon.wait_for("bursts to be left out", DEADLINE, |status| {
        status::counter(status::target(status, "fibre", 0), "skipped") >= 5
    });
    ping.kill().expect("it runs");
    ping.wait().expect("it ran");
}

#[test]
fn what_was_spent_counts_against_a_bigger_budget_after_a_restart() {
    let _turn = turn::shared();
    let settings = passive::settings("period = \"200ms\"\nbudget = \"20kB/month\"", "");
    let (site, mut daemon) = running(&settings);
    let spent = |status: &Value| status::counter(status::uplink(status, "fibre"), "spent");
    let skipped = |status: &Value| status::counter(status::target(status, "fibre", 0), "skipped");
    let first = daemon.wait_for("bursts to be left out", DEADLINE, |status| {
        skipped(status) >= 5
    });
    assert!(daemon.stop().success());
    let path = settings.write();
    let bigger = settings.text().replace("20kB", "50GB");
    std::fs::write(&path, bigger).expect("a temporary file can be written");
    let mut again = Daemon::start_with_file(&site.router, &path, &settings.socket());
    let status = again.wait_for("probes at their full pace", DEADLINE, |status| {
        sent(status) >= 60
    });
    println!("spent {} and {}", spent(&first), spent(&status));
    assert!(spent(&status) >= spent(&first) + 50 * 98, "{status:#}");
    // The first burst after the start may lie too near to the next.
    assert!(skipped(&status) <= 1, "{status:#}");
}
