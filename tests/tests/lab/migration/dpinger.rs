//! Those who come from dpinger, with the command lines that a firewall's gateway monitoring makes.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use pingu_tests::lab::{
    delay::Delay,
    route_watch, routes,
    site::{Plan, Site, TARGET},
    turn,
    wait::wait_until,
};

use super::Moved;

/// Nine requests in a row are lost before it is down, and twenty seconds later it may be up again.
const DEADLINE: Duration = Duration::from_secs(60);

const ALARM: &str = "#!/bin/sh\necho \"$PINGU_UPLINK $PINGU_EVENT\" >> /etc/alarms\n";

const UPLINKS: [&str; 2] = ["WAN_DHCP", "OPT1_DHCP"];

fn leased() -> Site {
    Plan::new(&["wan1", "wan2"]).build()
}

/// The interfaces, which dpinger's command line does not tell.
fn name_interfaces(text: String) -> String {
    text.replace("interface = \"WAN_DHCP\"", "interface = \"wan1\"")
        .replace("interface = \"OPT1_DHCP\"", "interface = \"wan2\"")
}

/// Where the alert command writes, once those that were run because the uplinks came up have ended: they were run for nothing.
fn install_alarm(moved: &mut Moved) -> PathBuf {
    moved
        .daemon
        .wait_for("the first alarms", DEADLINE, |status| {
            let hooks = status["hooks"].as_array().into_iter().flatten();
            let ended: u64 = hooks.filter_map(|hook| hook["runs"].as_u64()).sum();
            ended == UPLINKS.len() as u64
        });
    let command = moved.daemon.path("/etc/rc.gateway_alarm");
    fs::write(&command, ALARM)
        .and_then(|()| fs::set_permissions(&command, fs::Permissions::from_mode(0o755)))
        .expect("the daemon's own directory can be written to");
    moved.daemon.path("/etc/alarms")
}

#[track_caller]
fn traffic_leaves_by(moved: &Moved, uplink: usize) {
    let ifindex = moved.site.ifindex(uplink);
    route_watch::wait_until_by(&moved.site.router, TARGET, ifindex, DEADLINE);
}

#[track_caller]
fn wait_for_alarms(file: &PathBuf, expected: &str) {
    wait_until("the alarms", DEADLINE, || {
        match fs::read_to_string(file).unwrap_or_default() {
            text if text == expected => Ok(()),
            text => Err(format!("{text:?} instead of {expected:?}")),
        }
    });
}

#[test]
fn dpinger_s_command_lines_imported_run_the_alert_command_and_move_nobody_s_traffic() {
    let _turn = turn::shared();
    let mut moved = Moved::import_and_edit("gateways.sh", leased(), &UPLINKS, name_interfaces);
    let alarms = install_alarm(&mut moved);
    let learned = routes::foreign(&moved.site.router);
    moved.site.providers[0].black_hole();
    wait_for_alarms(&alarms, "WAN_DHCP down\n");
    traffic_leaves_by(&moved, 0);
    moved.site.providers[0].repair();
    wait_for_alarms(&alarms, "WAN_DHCP down\nWAN_DHCP up\n");

    // Half a second of delay is an alarm as well.
    let delay = Delay::start(&moved.site.providers[1]);
    delay.set(Duration::from_millis(1200));
    wait_for_alarms(&alarms, "WAN_DHCP down\nWAN_DHCP up\nOPT1_DHCP down\n");
    drop(delay);
    let all = "WAN_DHCP down\nWAN_DHCP up\nOPT1_DHCP down\nOPT1_DHCP up\n";
    wait_for_alarms(&alarms, all);
    traffic_leaves_by(&moved, 0);
    assert_eq!(routes::foreign(&moved.site.router), learned);
    assert!(moved.daemon.stop().success());
}

#[test]
fn dpinger_s_command_lines_with_metrics_of_their_own_choose_the_way() {
    let _turn = turn::shared();
    let edit = |text| {
        name_interfaces(text)
            .replace("metric = 50000", "metric = 10")
            .replace("metric = 50001", "metric = 20")
    };
    let mut moved = Moved::import_and_edit("gateways.sh", leased(), &UPLINKS, edit);
    install_alarm(&mut moved);
    traffic_leaves_by(&moved, 0);
    let watch = moved.watch();
    moved.site.providers[0].black_hole();
    traffic_leaves_by(&moved, 1);
    moved.site.providers[0].repair();
    traffic_leaves_by(&moved, 0);
    assert_eq!(watch.finish().count.without_route, 0);
    assert!(moved.daemon.stop().success());
}
