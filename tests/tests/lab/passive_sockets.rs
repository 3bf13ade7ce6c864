//! What passing traffic changes where no programs count it: the interface's own counters tell, and what a dead provider's segment still
//! carries tells nothing.

use std::time::Duration;

use pingu_tests::lab::{
    chatter::Chatter,
    daemon::Daemon,
    flows,
    foreign_program::ForeignProgram,
    kernel::default_hook,
    noise::Noise,
    route_watch,
    settings::Settings,
    site::{Plan, SECOND_TARGET, TARGET},
    status, turn,
};
use serde_json::Value;

use crate::{
    passive::{self, with_servers},
    running::running,
};

const DEADLINE: Duration = Duration::from_secs(60);

/// Fast enough for every figure here, slow for a machine.
const CHAT: Duration = Duration::from_millis(20);

/// Bursts that are left out one after another, or sent: enough to tell that from chance.
const MANY: u64 = 12;

/// What loading programs takes, and packet sockets.
const RAW: [&str; 4] = ["bpf", "sys_admin", "perfmon", "net_raw"];

const IDLE: &str = "period = \"500ms\"\nprobe_when = \"idle\"";

fn settings(engine: &str, probe: &str, health: &str) -> Settings {
    passive::settings(probe, health).top(&format!("engine = \"{engine}\""))
}

fn of_target(status: &Value, uplink: &str, name: &str) -> u64 {
    status::counter(status::target(status, uplink, 0), name)
}

fn skipped(status: &Value, uplink: &str) -> u64 {
    of_target(status, uplink, "skipped")
}

fn text<'a>(status: &'a Value, uplink: &str, name: &str) -> &'a str {
    let value = &status::uplink(status, uplink)[name];
    value.as_str().unwrap_or_else(|| panic!("{name}: {value}"))
}

fn traffic(status: &Value, uplink: &str, name: &str) -> u64 {
    let traffic = &status::uplink(status, uplink)["traffic"];
    traffic[name].as_u64().unwrap_or(0)
}

fn wait_until_saved(daemon: &mut Daemon, uplink: &str) -> Value {
    daemon.wait_for("bursts to be left out", DEADLINE, |status| {
        skipped(status, uplink) >= MANY
    })
}

#[test]
fn an_interfaces_counters_save_probes_while_traffic_flows_both_ways_and_a_cut_is_found() {
    let _turn = turn::shared();
    let settings = settings("socket", IDLE, "");
    let (site, mut daemon) = with_servers(&settings);
    let _chatter = Chatter::datagrams(&site.lan, SECOND_TARGET.into(), CHAT);
    let begin = wait_until_saved(&mut daemon, "fibre");
    let end = daemon.wait_for("as many again", DEADLINE, |status| {
        skipped(status, "fibre") >= skipped(&begin, "fibre") + MANY
    });
    let sent = |uplink| of_target(&end, uplink, "sent") - of_target(&begin, uplink, "sent");
    assert!(sent("fibre") * 2 <= sent("lte"), "{end:#}");
    assert_eq!(skipped(&end, "lte"), 0, "{end:#}");
    for uplink in ["fibre", "lte"] {
        assert_eq!(text(&end, uplink, "traffic_source"), "interface counters");
        let reason = text(&end, uplink, "traffic_source_reason");
        assert!(reason.contains("engine = \"socket\""), "{reason}");
        assert!(status::uplink(&end, uplink)["handshakes"].is_null());
        let unknown = text(&end, uplink, "handshakes_unknown");
        assert!(unknown.contains("no handshakes"), "{unknown}");
    }
    site.providers[0].black_hole();
    daemon.wait_until_down("fibre");
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
}

#[test]
fn own_probes_and_replies_are_no_traffic_to_the_counters() {
    let _turn = turn::shared();
    let settings = settings("socket", IDLE, "");
    let (_site, mut daemon) = running(&settings);
    let status = daemon.wait_for("many probes", DEADLINE, |status| {
        of_target(status, "fibre", "answered") >= 60
    });
    assert_eq!(skipped(&status, "fibre"), 0, "{status:#}");
    assert_eq!(traffic(&status, "fibre", "ingress_packets"), 0);
    // What is left is about neighbours.
    let left = traffic(&status, "fibre", "egress_packets");
    assert!(left <= 20, "{status:#}");
}

#[test]
fn traffic_that_ends_is_followed_by_probes_again() {
    let _turn = turn::shared();
    let settings = settings("socket", IDLE, "");
    let (site, mut daemon) = with_servers(&settings);
    let chatter = Chatter::datagrams(&site.lan, SECOND_TARGET.into(), CHAT);
    wait_until_saved(&mut daemon, "fibre");
    drop(chatter);
    let begin = daemon.status().unwrap();
    let end = daemon.wait_for("probes", DEADLINE, |status| {
        of_target(status, "fibre", "sent") >= of_target(&begin, "fibre", "sent") + 3 * MANY
    });
    let saved = skipped(&end, "fibre") - skipped(&begin, "fibre");
    assert!(saved <= 4, "{saved}");
}

#[test]
fn a_silence_moves_the_route_without_programs_too() {
    let _turn = turn::shared();
    // Only silence can find a cut within the deadline.
    let probe = "period = \"600s\"\nsilence = \"500ms\"";
    let settings = settings("socket", probe, "");
    let (site, mut daemon) = with_servers(&settings);
    let _chatter = Chatter::datagrams(&site.lan, SECOND_TARGET.into(), CHAT);
    daemon.wait_for("traffic to be seen", DEADLINE, |status| {
        traffic(status, "fibre", "ingress_packets") > 20
    });
    let _noise = Noise::start(&site, &site.providers[0], CHAT);
    site.providers[0].black_hole();
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
    daemon.wait_until_down("fibre");
}

#[test]
fn what_a_dead_providers_segment_still_carries_keeps_no_uplink_alive() {
    let _turn = turn::shared();
    let settings = settings("socket", IDLE, "");
    let (site, mut daemon) = with_servers(&settings);
    let _chatter = Chatter::datagrams(&site.lan, SECOND_TARGET.into(), CHAT);
    let _noise = Noise::start(&site, &site.providers[0], Duration::from_millis(5));
    let _noise_behind = Noise::start(&site, &site.providers[1], Duration::from_millis(5));
    let begin = wait_until_saved(&mut daemon, "fibre");
    assert_eq!(skipped(&begin, "lte"), 0, "{begin:#}");
    site.providers[0].black_hole();
    let cut = daemon.status().unwrap();
    daemon.wait_until_down("fibre");
    let down = daemon.status().unwrap();
    let left_out = skipped(&down, "fibre") - skipped(&cut, "fibre");
    // One may have been proven by what came before the cut.
    assert!(left_out <= 3, "{left_out}");
    // The noise was there all the time.
    let bytes = |status: &Value| traffic(status, "fibre", "ingress_bytes");
    assert!(bytes(&down) >= bytes(&cut), "{down:#}");
    daemon.wait_for("noise", DEADLINE, |status| {
        bytes(status) > bytes(&down) + 50_000
    });
}

#[test]
fn where_one_interface_takes_no_hooks_its_counters_tell_and_programs_of_the_others() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = settings("auto", IDLE, "handshakes = \"judge\"");
    let _full = ForeignProgram::fill_ingress(&site.router, "wan1", default_hook());
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    flows::serve(&site.internet, ["1.1.1.1"]);
    route_watch::wait_until_by(&site.router, SECOND_TARGET, site.ifindex(0), DEADLINE);
    let _chatter = Chatter::datagrams(&site.lan, SECOND_TARGET.into(), CHAT);
    let status = wait_until_saved(&mut daemon, "fibre");
    assert_eq!(
        text(&status, "fibre", "traffic_source"),
        "interface counters"
    );
    let reason = text(&status, "fibre", "traffic_source_reason");
    let full = format!("{} ingress", default_hook());
    assert!(reason.to_lowercase().contains(&full), "{reason}");
    assert_eq!(text(&status, "lte", "traffic_source"), "programs");
    assert!(status::uplink(&status, "lte")["handshakes"].is_object());
    assert!(status::uplink(&status, "lte")["handshakes_unknown"].is_null());
    let warnings = status["warnings"].as_array().unwrap();
    let warned = |uplink: &str| {
        let of_uplink = |warning: &&Value| {
            let text = warning.as_str().unwrap();
            text.starts_with(&format!("{uplink}: ")) && text.contains("handshakes")
        };
        warnings.iter().filter(of_uplink).count()
    };
    assert_eq!((warned("fibre"), warned("lte")), (1, 0), "{warnings:#?}");
    site.providers[0].black_hole();
    daemon.wait_until_down("fibre");
}

#[test]
fn where_nothing_tells_broadcasts_apart_traffic_saves_no_probe_and_that_is_said() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    site.router
        .run(&["sysctl", "-qw", "net.ipv4.ping_group_range=0 0"]);
    let settings = settings("auto", IDLE, "");
    let mut daemon = Daemon::start_without(&site.router, &settings, &RAW);
    daemon.wait_until_up(&["fibre", "lte"]);
    flows::serve(&site.internet, ["1.1.1.1"]);
    route_watch::wait_until_by(&site.router, SECOND_TARGET, site.ifindex(0), DEADLINE);
    let _chatter = Chatter::datagrams(&site.lan, SECOND_TARGET.into(), CHAT);
    let begin = daemon.wait_for("traffic", DEADLINE, |status| {
        traffic(status, "fibre", "ingress_packets") >= 50
            && traffic(status, "fibre", "egress_packets") >= 50
    });
    let end = daemon.wait_for("many bursts", DEADLINE, |status| {
        of_target(status, "fibre", "answered") >= of_target(&begin, "fibre", "answered") + 3 * MANY
    });
    assert_eq!(skipped(&end, "fibre"), 0, "{end:#}");
    assert_eq!(text(&end, "fibre", "traffic_source"), "interface counters");
    let reason = text(&end, "fibre", "traffic_source_reason");
    assert!(reason.contains("broadcasts"), "{reason}");
    let warnings = end["warnings"].as_array().unwrap();
    let warned = |warning: &Value| warning.as_str().unwrap().contains("probe_when");
    assert!(warnings.iter().any(warned), "{warnings:#?}");
}
