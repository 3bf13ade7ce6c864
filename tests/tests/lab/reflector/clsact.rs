//! A reflector where the kernel has no TCX, and what its filters leave behind: nothing, but after a SIGKILL until the next start.

use pingu_tests::lab::{
    daemon::{Daemon, START_DEADLINE, STOP_DEADLINE},
    namespace::Namespace,
    old_kernel,
    settings::Settings,
    site::Plan,
    status::counter,
    turn,
    wait::wait_until,
};

use super::{
    DEADLINE, FAR_INTERFACE, FAR_V4, PACE, Reflector, directions, far_settings, is_told,
    lost_replies_are_told, pass_probes,
};

const CLSACT: [&str; 4] = ["--interface", FAR_INTERFACE, "--hook", "clsact"];

/// What `tc` shows of an interface.
fn shown(namespace: &Namespace, interface: &str) -> String {
    let filters = ["ingress", "egress"]
        .map(|hook| namespace.run(&["tc", "filter", "show", "dev", interface, hook]));
    let qdiscs = namespace.run(&["tc", "qdisc", "show", "dev", interface]);
    format!("{qdiscs}{}", filters.concat())
}

fn filters(namespace: &Namespace) -> usize {
    shown(namespace, FAR_INTERFACE)
        .matches("pingu-reflect")
        .count()
}

#[test]
fn before_linux_6_6_clsact_serves_and_goes_with_the_reflector() {
    let _turn = turn::shared();
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let site = Plan::new(&["wan1"]).build();
        let before = shown(&site.internet, FAR_INTERFACE);
        let mut command = Reflector::command(&site.internet, &["--interface", FAR_INTERFACE]);
        old_kernel::without_tcx(&mut command);
        let mut reflector = Reflector::run(command);
        reflector.0.wait_for_log("reflecting", START_DEADLINE);
        assert_eq!(filters(&site.internet), 1);
        // From here on nobody answers but the reflector.
        site.internet.sysctl("net.ipv4.icmp_echo_ignore_all", "1");
        let settings = far_settings(FAR_V4);
        let mut daemon = Daemon::start(&site.router, &settings);
        lost_replies_are_told(&site, &mut daemon);
        drop(daemon);
        let report = reflector.stop_by(signal);
        assert_eq!(report["interfaces"][0]["hook"], "clsact", "{report:#}");
        assert_eq!(shown(&site.internet, FAR_INTERFACE), before);
    }
}

#[test]
fn a_killed_reflector_s_filter_is_taken_over_and_never_stacked() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let before = shown(&site.internet, FAR_INTERFACE);
    let settings = far_settings(FAR_V4);
    for next in ["clsact", "tc"] {
        for _ in 0..3 {
            let mut reflector = Reflector::start(&site.internet, &CLSACT);
            assert_eq!(filters(&site.internet), 1);
            reflector.0.signal(libc::SIGKILL);
            reflector.0.wait(STOP_DEADLINE);
            assert_eq!(filters(&site.internet), 1, "a filter outlives its process");
        }
        let arguments = ["--interface", FAR_INTERFACE, "--hook", next];
        let reflector = Reflector::start(&site.internet, &arguments);
        assert_eq!(filters(&site.internet), usize::from(next == "clsact"));
        let mut daemon = Daemon::start(&site.router, &settings);
        daemon.wait_for("a first reflection", START_DEADLINE, is_told);
        drop(daemon);
        let report = reflector.stop();
        let counted = report["paths"][0]["requests"].as_u64();
        assert!(counted > Some(0), "its own count: {report:#}");
        assert_eq!(shown(&site.internet, FAR_INTERFACE), before);
    }
}

#[test]
fn filters_of_others_stay_and_a_deleted_one_of_ours_returns() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).build();
    let internet = &site.internet;
    let tc = |words: &str| {
        let words: Vec<&str> = words.split_whitespace().collect();
        internet.run(&[&["tc"][..], &words].concat())
    };
    tc("qdisc add dev p0 clsact");
    tc("filter add dev p0 ingress protocol ip prio 7 u32 match u32 0 0 flowid 1:1");
    let before = shown(internet, FAR_INTERFACE);
    let reflector = Reflector::start(internet, &CLSACT);
    assert_eq!(filters(internet), 1);
    // What some traffic shapers do when they start.
    tc("filter del dev p0 ingress prio 1");
    wait_until("the filter to return", DEADLINE, || {
        match filters(internet) {
            1 => Ok(()),
            other => Err(format!("{other} filters")),
        }
    });
    let settings = far_settings(FAR_V4);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_for("a first reflection", START_DEADLINE, is_told);
    drop(daemon);
    reflector.stop();
    assert_eq!(shown(internet, FAR_INTERFACE), before);
}

/// Each end probes the other over one wire and reflects what comes: all four programs sit on one interface at each end.
#[test]
fn two_pingus_probe_and_reflect_each_other_and_go_in_any_order() {
    let _turn = turn::shared();
    for (hook, receive) in [("clsact", "clsact"), ("tc", "tcx")] {
        let site = Plan::new(&["wan1"]).build();
        let provider = &site.providers[0].namespace;
        let ends = [
            (&site.router, "wan1", "10.0.1.1"),
            (provider, "r0", "10.0.1.2"),
        ];
        let before = ends.map(|(namespace, interface, _)| shown(namespace, interface));
        let mut running = ends.map(|(namespace, interface, other)| {
            let settings = Settings::new()
                .top(&format!("receive_hook = \"{receive}\""))
                .probe(&format!("targets = [\"{other}\"]\n{PACE}"))
                .health("max_lost = 19")
                .uplink("fibre", interface, other, 88);
            let daemon = Daemon::start(namespace, &settings);
            let arguments = ["--interface", interface, "--hook", hook];
            let reflector = Reflector::start(namespace, &arguments);
            (settings, daemon, reflector)
        });
        for (_, daemon, _) in &mut running {
            daemon.wait_for("a first reflection", START_DEADLINE, is_told);
            let status = pass_probes(daemon, 40);
            let found = directions(&status);
            assert_eq!(counter(found, "forward_lost"), 0, "{found:#}");
            assert_eq!(counter(found, "backward_lost"), 0, "{found:#}");
        }
        let [(_, first, first_reflector), (_, second, second_reflector)] = running;
        assert!(first.stop().success());
        first_reflector.stop();
        second_reflector.stop();
        assert!(second.stop().success());
        let after = ends.map(|(namespace, interface, _)| shown(namespace, interface));
        assert_eq!(after, before, "{hook}");
    }
}
