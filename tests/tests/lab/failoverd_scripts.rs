//! Scripts of the kinds that failoverd's users write, unchanged, with a real failover: they move the kernel's route and move it
//! back.

use std::{net::Ipv4Addr, time::Duration};

use pingu_tests::lab::{
    route_watch,
    script::{Script, Setting},
    server::NameServer,
    site::{Plan, Site, TARGET},
    turn,
    wait::wait_until,
};

mod blocked;
mod many;

/// From the cut, or the repair, to the new route: the scripts look back one second at most, and ask for some updates in a row.
const MOVE_DEADLINE: Duration = Duration::from_secs(10);

/// Nobody probes it: the default route alone leads there.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);

fn site() -> Site {
    let site = Plan::new(&["wan1", "wan2"]).build();
    // As systemd sets it.
    site.router
        .sysctl("net.ipv4.ping_group_range", "0 2147483647");
    site
}

/// Waits until traffic leaves by an uplink, the first being 0.
#[track_caller]
fn wait_until_by(site: &Site, uplink: usize) {
    route_watch::wait_until_by(&site.router, ELSEWHERE, site.ifindex(uplink), MOVE_DEADLINE);
}

/// Waits until the script has written routes: before that it may be busy with anything.
#[track_caller]
fn wait_for_own_routes(site: &Site) {
    wait_until("the script's routes", MOVE_DEADLINE, || {
        let routes = site.router.ip("-4 -o route");
        // What `ip route` writes is of protocol boot, which it does not show.
        if routes.lines().any(|route| !route.contains(" proto ")) {
            Ok(())
        } else {
            Err(routes)
        }
    });
}

/// Cuts the first uplink and repairs it, and sees traffic leave by the other one meanwhile.
#[track_caller]
fn fail_over_and_back(site: &Site, cut: impl Fn(&Site), repair: impl Fn(&Site)) {
    wait_for_own_routes(site);
    wait_until_by(site, 0);
    cut(site);
    wait_until_by(site, 1);
    repair(site);
    wait_until_by(site, 0);
}

#[track_caller]
fn black_hole_and_back(site: &Site) {
    fail_over_and_back(
        site,
        |site| site.providers[0].black_hole(),
        |site| site.providers[0].repair(),
    );
}

#[track_caller]
fn carrier_loss_and_back(site: &Site) {
    fail_over_and_back(
        site,
        |site| site.providers[0].set_carrier(false),
        |site| site.providers[0].set_carrier(true),
    );
}

/// Ends a script, which must have had nothing to complain of, and gives what it wrote.
#[track_caller]
fn end(mut script: Script) -> String {
    assert_eq!(script.stop(libc::SIGINT).code(), Some(0));
    let complaints = script.complaints();
    for word in ["traceback", "ERROR", "WARN", "RTNETLINK", "panicked"] {
        assert!(!complaints.contains(word), "{complaints}");
    }
    script.output()
}

#[test]
fn the_least_script_switches_the_route_by_the_lowest_loss() {
    let _turn = turn::shared();
    let site = site();
    let script = Setting::new(include_str!("failoverd_scripts/switch.lua")).start(&site.router);
    black_hole_and_back(&site);
    black_hole_and_back(&site);
    let output = end(script);
    let moves: Vec<&str> = output
        .lines()
        .map(|line| line.rsplit(' ').next().unwrap())
        .collect();
    assert_eq!(
        moves,
        [
            "8.8.8.8", "1.1.1.1", "8.8.8.8", "1.1.1.1", "8.8.8.8", "down"
        ]
    );
}

#[test]
fn a_script_logs_every_update_to_a_csv_file() {
    let _turn = turn::shared();
    let site = site();
    let mut script =
        Setting::new(include_str!("failoverd_scripts/csv_log.lua")).start(&site.router);
    carrier_loss_and_back(&site);
    assert_eq!(script.stop(libc::SIGTERM).code(), Some(0));
    let log = script.read("failover.csv");
    let mut lines = log.lines();
    assert_eq!(lines.next(), Some("time,uptime,event,active,loss1,loss2"));
    let events: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    assert!(
        events
            .iter()
            .all(|event| event.len() == 6 && event[0].ends_with('Z')),
        "{log}"
    );
    let of_note: Vec<(&str, &str)> = events
        .iter()
        .filter(|event| event[2] != "ok")
        .map(|event| (event[2], event[3]))
        .collect();
    let (over, back) = (("failover", "wan2"), ("failback", "wan1"));
    assert_eq!(of_note, [over, back, ("quit", "wan1")], "{log}");
}

#[test]
fn a_script_probes_its_metered_uplink_only_in_need() {
    let _turn = turn::shared();
    let site = site();
    site.providers[1].count("icmp type echo-request");
    let mut script =
        Setting::new(include_str!("failoverd_scripts/start_stop.lua")).start(&site.router);
    wait_for_own_routes(&site);
    assert_eq!(site.providers[1].counted(), 0);
    black_hole_and_back(&site);
    script.wait_for_output("stopping");
    assert!(site.providers[1].counted() > 0);
    let output = end(script);
    let starts = output.matches("starting").count();
    assert_eq!(starts, 1, "{output}");
}

#[test]
fn a_script_builds_its_probes_from_names() {
    let _turn = turn::shared();
    let site = site();
    let _server = NameServer::start(
        &site.internet,
        TARGET.into(),
        &[
            "--host-record=one.first.example,8.8.8.8",
            "--host-record=two.first.example,8.8.4.4",
            "--host-record=second.example,1.1.1.1",
            "--host-record=second.example,1.0.0.1",
            "--local=/example/",
        ],
    );
    let mut script = Setting::new(include_str!("failoverd_scripts/names.lua"))
        .over("/etc/resolv.conf", "nameserver 8.8.8.8\n")
        .start(&site.router);
    // The resolver is behind the uplink that will be cut.
    script.wait_for_output("4 probes\n");
    black_hole_and_back(&site);
    assert_eq!(end(script), "4 probes\n");
}

#[test]
fn a_script_compares_one_target_over_two_uplinks() {
    let _turn = turn::shared();
    let site = site();
    let script =
        Setting::new(include_str!("failoverd_scripts/two_uplinks.lua")).start(&site.router);
    black_hole_and_back(&site);
    let output = end(script);
    assert!(
        output.contains("10.0.2.2 has 0%\n") && output.contains("10.0.1.2 has 0%\n"),
        "{output}"
    );
    assert!(output.ends_with(" outcomes\n"), "{output}");
}

#[test]
fn a_script_with_counters_moves_once_there_and_once_back() {
    let _turn = turn::shared();
    let site = site();
    let script = Setting::new(include_str!("failoverd_scripts/hysteresis.lua")).start(&site.router);
    carrier_loss_and_back(&site);
    assert_eq!(end(script), "moves\t2\n");
}

#[test]
fn a_state_machine_ranks_its_uplinks_and_reports() {
    let _turn = turn::shared();
    let site = site();
    let script = Setting::new(include_str!("failoverd_scripts/machine.lua")).start(&site.router);
    wait_for_own_routes(&site);
    // One dead target is not a dead uplink.
    site.providers[0].block(&["8.8.4.4".parse().unwrap()]);
    black_hole_and_back(&site);
    let output = end(script);
    let there_and_back = "PRIMARY>BACKUP BACKUP>PROBATION PROBATION>PRIMARY";
    assert!(
        output.contains(&format!("\nINIT>PRIMARY {there_and_back}\n")),
        "{output}"
    );
    assert!(output.contains("\n1.0.0.1   |   0.00%\n"), "{output}");
}

#[test]
fn a_coroutine_carries_the_policy() {
    let _turn = turn::shared();
    let site = site();
    let script = Setting::new(include_str!("failoverd_scripts/flow.lua")).start(&site.router);
    carrier_loss_and_back(&site);
    assert_eq!(end(script), "on wan1\non wan2\non wan1\n");
}

#[test]
fn a_script_reads_the_kernel_s_routes_and_its_environment() {
    let _turn = turn::shared();
    let site = site();
    let script = Setting::new(include_str!("failoverd_scripts/listing.lua"))
        .variable("PRIMARY", "wan1")
        .variable("EVERY", "0.1")
        .start(&site.router);
    black_hole_and_back(&site);
    let output = end(script);
    assert_eq!(
        output.matches("moving from wan1 to wan2\n").count(),
        1,
        "{output}"
    );
    let defaults = pingu_tests::lab::routes::defaults(&site.router);
    assert!(
        defaults.iter().all(|route| !route.contains("metric 10 ")),
        "{defaults:?}"
    );
}

#[test]
fn old_idioms_and_modules_beside_the_script_work() {
    let _turn = turn::shared();
    let site = site();
    let script = Setting::new(include_str!("failoverd_scripts/old_idioms.lua"))
        .file(
            "lib/routes.lua",
            include_str!("failoverd_scripts/lib/routes.lua"),
        )
        .file(
            "lib/settings.conf",
            include_str!("failoverd_scripts/lib/settings.conf"),
        )
        .start(&site.router);
    black_hole_and_back(&site);
    let output = end(script);
    assert!(
        output.contains("1: 0%\n2: 0%\n") && !output.contains("failed"),
        "{output}"
    );
}
