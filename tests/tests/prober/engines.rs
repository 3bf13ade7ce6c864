//! By hooks where they can be had, by echo sockets where nothing else can: the answers are the same.

use std::{process::Command, time::Duration};

use pingu::script::{
    probe::{Loss, Origin},
    prober::{Prober, ProberError},
};
use pingu_tests::lab::old_kernel::without_tcx_here;

use crate::harness::{
    Driver, Site, TARGET, TARGET_V6, address, by, drive, enter, from, pace, path,
};

#[test]
fn with_privileges_probes_leave_by_hooks_once_the_next_hop_is_known() {
    let site = Site::new();
    let paths = [
        path(TARGET, Origin::Any),
        path(TARGET, from("192.0.0.2")),
        path(TARGET, by("eth0")),
        path(TARGET_V6, Origin::Any),
        path("192.0.1.1", Origin::Any),
    ];
    let (outcomes, by_hooks) = drive(&site, pace(true, 50, 2_000), paths.to_vec(), |driver| {
        let outcomes = driver.take(100);
        (outcomes, driver.prober.by_hooks())
    });
    for outcome in &outcomes {
        let rtt = outcome
            .result
            .unwrap_or_else(|loss| panic!("{loss:?} of {outcome:?}"));
        assert!(rtt < Duration::from_millis(500), "{outcome:?}");
        assert!(outcome.source.is_some());
    }
    assert!(by_hooks >= 80, "only {by_hooks} by hooks");
}

#[test]
fn with_privileges_a_gateway_of_any_table_serves_an_interface_without_a_rule() {
    let site = Site::new();
    site.count_requests(0, None);
    site.count_requests(1, None);
    // No rule leads there, and strict filters drop what comes back by it after the hooks.
    site.router
        .ip("route add default via 192.0.1.1 dev eth1 table 99")
        .unwrap();
    site.router
        .sysctl("net.ipv4.conf.all.rp_filter", "1")
        .unwrap();
    let outcomes = drive(
        &site,
        pace(true, 50, 2_000),
        vec![path(TARGET, by("eth1"))],
        |driver| driver.take(20),
    );
    for outcome in outcomes {
        assert!(outcome.result.is_ok(), "{outcome:?}");
        assert_eq!(outcome.source, Some(address("192.0.1.2")));
    }
    assert_eq!(site.counted(0).0, 0);
    assert!(site.counted(1).0 >= 20);
}

#[test]
fn before_linux_6_6_filters_serve_one_script_and_go_with_it() {
    let site = Site::new();
    // No rule leads there, and the filters of return paths are strict.
    site.router
        .ip("route add default via 192.0.1.1 dev eth1 table 99")
        .unwrap();
    site.router
        .sysctl("net.ipv4.conf.all.rp_filter", "1")
        .unwrap();
    let shown = || {
        let filters = site.router.command("tc filter show dev eth1 ingress");
        let qdiscs = site.router.command("tc qdisc show dev eth1");
        qdiscs.unwrap() + &filters.unwrap()
    };
    let before = shown();
    let (outcomes, by_hooks, filters) = site.router.run(|| {
        without_tcx_here();
        let driver = |origin| Driver::new(pace(true, 50, 2_000), &[path(TARGET, origin)]);
        let (mut first, mut second) = (driver(by("eth1")), driver(Origin::Any));
        let mut outcomes = first.take(40);
        outcomes.extend(second.take(20));
        outcomes.extend(first.take(40));
        let by_hooks = [&first, &second].map(|driver| driver.prober.by_hooks());
        let filters = Command::new("tc")
            .args(["filter", "show", "dev", "eth1", "ingress"])
            .output()
            .unwrap();
        let filters = String::from_utf8(filters.stdout).unwrap();
        (outcomes, by_hooks, filters)
    });
    for outcome in outcomes {
        assert!(outcome.result.is_ok(), "{outcome:?}");
    }
    assert!(by_hooks[0] >= 70, "only {by_hooks:?} by hooks");
    assert_eq!(by_hooks[1], 0, "the place is taken");
    assert_eq!(filters.matches("pingu-script").count(), 1, "{filters}");
    assert_eq!(shown(), before);
}

#[test]
fn with_privileges_strict_filters_of_return_paths_make_no_uplink_look_dead() {
    let site = Site::new();
    site.router
        .ip("route add default via 192.0.1.1 dev eth1 metric 500")
        .unwrap();
    site.router
        .sysctl("net.ipv4.conf.all.rp_filter", "1")
        .unwrap();
    let outcomes = drive(
        &site,
        pace(true, 50, 2_000),
        vec![path(TARGET, by("eth1")), path(TARGET, by("eth0"))],
        |driver| driver.take(40),
    );
    for outcome in outcomes {
        assert!(outcome.result.is_ok(), "{outcome:?}");
    }
}

#[test]
fn with_privileges_an_interface_whose_gateway_is_silent_says_so() {
    let site = Site::new();
    site.router
        .ip("route add default via 192.0.1.77 dev eth1 metric 500")
        .unwrap();
    let outcomes = drive(
        &site,
        pace(true, 200, 1_000),
        vec![path(TARGET, by("eth1"))],
        |driver| driver.take(5),
    );
    for outcome in outcomes {
        assert_eq!(outcome.result, Err(Loss::NoNeighbour));
    }
}

#[test]
fn with_privileges_an_interface_without_any_route_sends_nothing() {
    let site = Site::new();
    site.count_requests(0, None);
    site.count_requests(1, None);
    let outcomes = drive(
        &site,
        pace(true, 20, 300),
        vec![path(TARGET, by("eth1"))],
        |driver| driver.take(5),
    );
    for outcome in outcomes {
        assert_eq!(outcome.result, Err(Loss::NotSent(libc::ENETUNREACH)));
    }
    assert_eq!((site.counted(0).0, site.counted(1).0), (0, 0));
}

/// Gives up what a process of root has, in this thread alone.
fn become_nobody() {
    const NOBODY: libc::c_long = 65_534;
    // SAFETY: plain system calls, which speak of the calling thread.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_setgroups, 0, 0), 0);
        assert_eq!(
            libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY),
            0
        );
        assert_eq!(
            libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY),
            0
        );
    }
}

#[test]
fn a_user_without_any_capability_probes_by_echo_sockets() {
    let site = Site::new();
    site.router
        .ip("route add default via 192.0.1.1 dev eth1 metric 500")
        .unwrap();
    let namespace = site.router.file().unwrap();
    let driver = std::thread::spawn(move || {
        enter(&namespace);
        become_nobody();
        let refused = Prober::new(pace(true, 100, 2_000)).map(drop);
        let paths = [
            path(TARGET, Origin::Any),
            path(TARGET, from("192.0.0.2")),
            path(TARGET, by("eth1")),
            path(TARGET_V6, Origin::Any),
            path(TARGET_V6, by("eth0")),
        ];
        let mut driver = Driver::new(pace(false, 100, 2_000), &paths);
        (refused, driver.take(25))
    });
    let (refused, outcomes) = driver.join().unwrap();
    let error = refused.unwrap_err();
    assert!(matches!(error, ProberError::RawSocket(_)));
    assert!(error.to_string().contains("CAP_NET_RAW"));
    for outcome in outcomes {
        assert!(outcome.result.is_ok(), "{outcome:?}");
        if outcome.path.origin == by("eth1") {
            assert_eq!(outcome.source, Some(address("192.0.1.2")));
        }
    }
}

#[test]
fn after_a_stall_nothing_leaves_in_a_burst_and_what_came_meanwhile_counts() {
    for privileged in [false, true] {
        let site = Site::new();
        site.count_requests(0, None);
        let outcomes = drive(
            &site,
            pace(privileged, 50, 200),
            vec![path(TARGET, Origin::Any)],
            |driver| {
                let mut outcomes = driver.take(4);
                // The next probe leaves, and then nobody looks for as long as 20 slots take.
                driver.during(Duration::from_millis(1));
                std::thread::sleep(Duration::from_millis(1_000));
                outcomes.extend(driver.take(6));
                outcomes
            },
        );
        let slots: Vec<_> = outcomes.iter().map(|outcome| outcome.sent_at).collect();
        for outcome in &outcomes {
            assert!(outcome.result.is_ok(), "{outcome:?}");
            let offset = outcome.sent_at - slots[0];
            assert_eq!(offset.as_nanos() % 50_000_000, 0, "on the grid");
        }
        let steps: Vec<_> = slots.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let long = steps
            .iter()
            .filter(|step| **step > Duration::from_millis(500));
        assert_eq!(long.count(), 1, "{steps:?}");
        assert!(site.counted(0).0 <= 12);
    }
}
