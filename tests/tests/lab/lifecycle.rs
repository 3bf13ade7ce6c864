//! Starting, ending in every way, starting again, and the command line.

use std::{fs, time::Duration};

use pingu_tests::lab::{
    daemon::{self, Daemon, STOP_DEADLINE},
    namespace::Namespace,
    route_monitor::RouteMonitor,
    route_watch::{self, Pace, RouteWatch},
    routes,
    settings::Settings,
    site::{Plan, Site, TARGET},
    status, turn,
    wait::wait_until,
};

use crate::running::{running, two_uplinks};

const DEADLINE: Duration = Duration::from_secs(10);

/// `EX_CONFIG` of sysexits.h.
const EXIT_CONFIG: i32 = 78;

#[test]
fn sigterm_and_sigint_withdraw_the_own_routes() {
    let _turn = turn::shared();
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let settings = two_uplinks(Settings::quick());
        let (site, mut daemon) = running(&settings);
        daemon.process().signal(signal);
        let status = daemon.process().wait(STOP_DEADLINE);
        assert_eq!(status.code(), Some(0));
        assert_eq!(routes::own(&site.router), Vec::<String>::new());
        assert_eq!(
            routes::defaults(&site.router).len(),
            2,
            "the learned ones stay"
        );
        assert!(
            !settings.socket().exists(),
            "the control socket goes with the daemon"
        );
    }
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let site = Plan::new(&["wan1", "wan2"]).build();
    let mut daemon = Daemon::start_with_full_log(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(routes::own(&site.router), Vec::<String>::new());
}

#[test]
fn on_exit_keep_leaves_the_own_routes() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick().top("on_exit = \"keep\""));
    let (site, daemon) = running(&settings);
    let before = routes::own(&site.router);
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(routes::own(&site.router), before);
}

#[test]
fn a_kill_leaves_a_usable_default_and_a_restart_moves_nothing() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, mut daemon) = running(&settings);
    site.providers[0].black_hole();
    daemon.wait_until_down("fibre");
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
    wait_until(
        "the own route of the fibre to go",
        DEADLINE,
        || match routes::own_over(&site.router, "wan1") {
            None => Ok(()),
            Some(route) => Err(route),
        },
    );
    let before = routes::own(&site.router);

    let watch = RouteWatch::start(&site.router, TARGET, Pace::Tight);
    daemon.kill();
    assert_eq!(
        routes::own(&site.router),
        before,
        "nobody is left to take them away"
    );
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["lte"]);
    daemon.wait_until_down("fibre");
    assert_eq!(routes::own(&site.router), before);
    let sightings = watch.finish();
    assert_eq!(sightings.count.without_route, 0, "{sightings:?}");
    assert_eq!(
        sightings.changes.len(),
        1,
        "the restart moved traffic: {sightings:?}"
    );
}

#[test]
fn a_second_instance_ends_at_once_and_touches_nothing() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, mut daemon) = running(&settings);
    let before = routes::own(&site.router);
    let config = settings.write();
    let monitor = RouteMonitor::start(&site.router);
    let second = daemon::run_to_end(&site.router, &["--config", &config.to_string_lossy()]);
    assert_eq!(second.status.code(), Some(1), "{}", second.stderr);
    assert!(!second.stderr.is_empty());
    assert_eq!(monitor.events(), Vec::<String>::new());
    assert_eq!(routes::own(&site.router), before);
    daemon.wait_until_up(&["fibre", "lte"]);
}

#[test]
fn adopted_routes_are_taken_over_and_put_back_as_they_were() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick().top("learned_routes = \"adopt\""));
    let site = Plan::new(&["wan1", "wan2"]).build();
    let before = routes::defaults(&site.router);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Tight);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    wait_for_adoption(&site);
    let status = daemon.status().unwrap();
    assert_eq!(
        status::uplink(&status, "fibre")["gateway"],
        "10.0.1.1",
        "the gateway outlives its route"
    );
    daemon.stop();
    assert_eq!(routes::defaults(&site.router), before);
    assert_eq!(watch.finish().count.without_route, 0);
}

#[test]
fn adopted_routes_survive_a_kill_and_a_restart() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick().top("learned_routes = \"adopt\""));
    let site = Plan::new(&["wan1", "wan2"]).build();
    let before = routes::defaults(&site.router);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    wait_for_adoption(&site);
    daemon.kill();
    assert!(
        route_watch::way_to(&site.router, TARGET).is_some(),
        "the own routes still stand"
    );
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    daemon.stop();
    assert_eq!(routes::defaults(&site.router), before);
}

#[test]
fn a_wrong_configuration_is_refused_with_all_its_problems_at_once() {
    let _turn = turn::shared();
    let namespace = Namespace::new("config");
    let settings = Settings::new()
        .top("protocl = 136\nreceive_hook = \"tcpx\"")
        .probe("targets = [\"8.8.8.8\"]\ncount = 0")
        .uplink("fibre", "eno2", "auto", 88)
        .uplink("fibre", "wlo1", "10.0.0.300", 88);
    let config = settings.write();
    for arguments in [vec!["--config"], vec!["check", "--config"]] {
        let mut arguments = arguments;
        let path = config.to_string_lossy();
        arguments.push(&path);
        let finished = daemon::run_to_end(&namespace, &arguments);
        assert_eq!(
            finished.status.code(),
            Some(EXIT_CONFIG),
            "{arguments:?}: {}",
            finished.stderr
        );
        for problem in [
            "protocl",
            "protocol",
            "tcpx",
            "count",
            "10.0.0.300",
            "fibre",
            "88",
        ] {
            assert!(
                finished.stderr.contains(problem),
                "{arguments:?} does not mention {problem}:\n{}",
                finished.stderr
            );
        }
    }
}

#[test]
fn check_prints_the_effective_configuration_which_is_a_configuration_again() {
    let _turn = turn::shared();
    let namespace = Namespace::new("config");
    let settings = two_uplinks(Settings::quick());
    let config = settings.write();
    let first = daemon::run_to_end(
        &namespace,
        &["check", "--config", &config.to_string_lossy()],
    );
    assert_eq!(first.status.code(), Some(0), "{}", first.stderr);
    for word in ["eno", "wan1", "wan2", "200ms", "hold_down", "receive_hook"] {
        assert_eq!(
            first.stdout.contains(word),
            word != "eno",
            "{word}:\n{}",
            first.stdout
        );
    }
    let again = settings.directory().join("effective.toml");
    fs::write(&again, &first.stdout).unwrap();
    let second = daemon::run_to_end(&namespace, &["check", "--config", &again.to_string_lossy()]);
    assert_eq!(second.status.code(), Some(0), "{}", second.stderr);
    assert_eq!(second.stdout, first.stdout);
}

#[test]
fn the_status_table_says_what_the_json_says() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, mut daemon) = running(&settings);
    site.providers[1].black_hole();
    daemon.wait_until_down("lte");
    let socket = settings.socket();
    let table = daemon::run_to_end(
        &site.router,
        &["status", "--socket", &socket.to_string_lossy()],
    );
    assert_eq!(table.status.code(), Some(0), "{}", table.stderr);
    let line = |name: &str| {
        let found = table
            .stdout
            .lines()
            .find(|line| line.trim_start_matches(['*', ' ']).starts_with(name));
        found.unwrap_or_else(|| panic!("no line for {name}:\n{}", table.stdout))
    };
    assert!(
        !line("fibre").contains("lte") && !table.stdout.contains('{'),
        "a line for each uplink:\n{}",
        table.stdout
    );
    for (name, words) in [
        ("fibre", ["wan1", "up", "88"]),
        ("lte", ["wan2", "down", "89"]),
    ] {
        for word in words {
            assert!(line(name).contains(word), "no {word}:\n{}", table.stdout);
        }
    }
    assert!(
        !table.stdout.contains('\u{1b}'),
        "no colours off a terminal"
    );
}

#[test]
fn status_without_a_daemon_names_the_socket_and_fails() {
    let _turn = turn::shared();
    let namespace = Namespace::new("nobody");
    let settings = Settings::new();
    let socket = settings.socket();
    let finished = daemon::run_to_end(
        &namespace,
        &["status", "--json", "--socket", &socket.to_string_lossy()],
    );
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("pingu.sock"),
        "{}",
        finished.stderr
    );
    assert!(finished.stdout.is_empty());
}

fn wait_for_adoption(site: &Site) {
    wait_until("the learned routes to be taken over", DEADLINE, || {
        let defaults = routes::defaults(&site.router);
        let all_own = defaults.len() == 2 && defaults.iter().all(|line| line.contains("proto 136"));
        if all_own {
            Ok(())
        } else {
            Err(format!("{defaults:?}"))
        }
    });
}
