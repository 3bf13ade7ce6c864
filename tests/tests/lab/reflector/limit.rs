//! More requests than a reflector is to answer in a second: the kernel answers the rest, and nobody takes that for losses.

use pingu_tests::lab::{
    daemon::{Daemon, START_DEADLINE},
    site::Plan,
    status::{self, counter},
    turn,
};

use super::{FAR_INTERFACE, FAR_V4, Reflector, directions, far_settings, is_told, pass_probes};

#[test]
fn beyond_its_limit_the_kernel_answers_and_no_direction_is_blamed() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    // Twenty probes come together every two seconds.
    let arguments = ["--interface", FAR_INTERFACE, "--limit", "5"];
    let mut reflector = Reflector::start(&site.internet, &arguments);
    let settings = far_settings(FAR_V4);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_for("a first reflection", START_DEADLINE, is_told);
    reflector
        .0
        .wait_for_log("more requests came than --limit", START_DEADLINE);
    let status = pass_probes(&mut daemon, 60);
    let target = status::target(&status, "fibre", 0);
    assert_eq!(status::state(&status, "fibre"), "up", "{status:#}");
    assert_eq!(counter(target, "lost"), 0, "{status:#}");
    let found = directions(&status);
    assert_eq!(counter(found, "forward_lost"), 0, "{found:#}");
    assert_eq!(counter(found, "backward_lost"), 0, "{found:#}");
    let sent = counter(target, "sent");
    assert!(counter(found, "of") < sent / 2, "{found:#}");
    drop(daemon);
    let report = reflector.stop();
    assert_eq!(report["limit_per_second"], 5, "{report:#}");
    let [reflected, limited] = ["reflected", "limited"].map(|key| counter(&report, key));
    assert!(reflected >= 20 && limited > reflected / 2, "{report:#}");
    assert!(reflected + limited >= sent, "{report:#}");
}
