//! An uplink that a person pins, by command or by the sticky file, with traffic watched all the while.

use std::{fs, path::Path, time::Duration};

use pingu_tests::lab::{
    daemon::{self, Daemon, Finished},
    namespace::Namespace,
    route_watch::{self, Pace, RouteWatch},
    settings::Settings,
    site::{Plan, Site, TARGET},
    turn,
};
use serde_json::{Value, json};

use crate::running::{running, two_uplinks};

const DEADLINE: Duration = Duration::from_secs(10);

fn pin(site: &Site, settings: &Settings, arguments: &[&str]) -> Finished {
    let socket = settings.socket();
    let socket = socket.to_string_lossy();
    let all = [&["pin"], arguments, &["--socket", &socket]].concat();
    daemon::run_to_end(&site.router, &all)
}

#[track_caller]
fn traffic_leaves_by(site: &Site, uplink: usize) {
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(uplink), DEADLINE);
}

#[track_caller]
fn wait_until_pinned(daemon: &mut Daemon, pinned: Value, by: Value) {
    daemon.wait_for(
        &format!("{pinned} to be pinned by {by}"),
        DEADLINE,
        |status| status["pinned"] == pinned && status["pinned_by"] == by,
    );
}

#[test]
fn a_pinned_uplink_carries_traffic_until_it_cannot_be_left_by_and_when_it_can_again() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, mut daemon) = running(&settings);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Tight);
    traffic_leaves_by(&site, 0);

    let done = pin(&site, &settings, &["lte"]);
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    assert_eq!(done.stdout, "lte is pinned\n");
    traffic_leaves_by(&site, 1);
    wait_until_pinned(&mut daemon, json!("lte"), json!("command"));

    site.providers[1].black_hole();
    daemon.wait_until_down("lte");
    assert_eq!(
        route_watch::way_to(&site.router, TARGET),
        Some(site.ifindex(1))
    );
    assert_eq!(
        watch.finish().count.without_route,
        0,
        "there was a way at every instant"
    );

    site.router.ip("link set wan2 down");
    traffic_leaves_by(&site, 0);
    site.router.ip("link set wan2 up");
    site.providers[1].leave_default(&site.router, 1001);
    traffic_leaves_by(&site, 1);

    let done = pin(&site, &settings, &["--clear"]);
    assert_eq!(done.stdout, "nothing is pinned\n", "{}", done.stderr);
    traffic_leaves_by(&site, 0);
    wait_until_pinned(&mut daemon, Value::Null, Value::Null);
}

#[test]
fn a_pin_survives_a_kill_and_a_restart_moves_nothing() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    let (site, daemon) = running(&settings);
    assert_eq!(pin(&site, &settings, &["lte"]).status.code(), Some(0));
    // The answer has come, so it is written.
    daemon.kill();
    let mut daemon = Daemon::start(&site.router, &settings);
    wait_until_pinned(&mut daemon, json!("lte"), json!("command"));
    daemon.wait_until_up(&["fibre", "lte"]);
    traffic_leaves_by(&site, 1);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Tight);
    daemon.kill();
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    let sightings = watch.finish();
    assert_eq!(sightings.count.without_route, 0);
    assert_eq!(sightings.changes.len(), 1, "{sightings:?}");
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn wishes_that_cannot_be_met_are_refused_with_the_names_that_there_are() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick()).uplink("my fibre", "wan9", "auto", 90);
    let (site, mut daemon) = running(&settings);
    for name in ["lte2", "LTE", "", "lte\n", "fibre,lte"] {
        let refused = pin(&site, &settings, &[name]);
        assert_eq!(
            refused.status.code(),
            Some(1),
            "{name:?}: {}",
            refused.stdout
        );
        assert!(refused.stdout.is_empty(), "{name:?}");
        if name != "lte\n" {
            assert!(
                refused.stderr.contains("fibre, lte, my fibre"),
                "{}",
                refused.stderr
            );
        }
    }
    wait_until_pinned(&mut daemon, Value::Null, Value::Null);
    for wrong in [&[][..], &["lte", "--clear"]] {
        assert_eq!(
            pin(&site, &settings, wrong).status.code(),
            Some(2),
            "{wrong:?}"
        );
    }
    let spaced = pin(&site, &settings, &["my fibre"]);
    assert_eq!(spaced.stdout, "my fibre is pinned\n", "{}", spaced.stderr);
    traffic_leaves_by(&site, 0);
    daemon.stop();
    let nobody = pin(&site, &settings, &["lte"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(nobody.stderr.contains("pingu.sock"), "{}", nobody.stderr);
}

fn with_sticky_file() -> (Settings, std::path::PathBuf) {
    let settings = Settings::quick();
    let file = settings.directory().join("sticky");
    let line = format!("sticky_file = \"{}\"", file.display());
    (two_uplinks(settings.top(&line)), file)
}

fn write(file: &Path, content: &[u8]) {
    fs::write(file, content).expect("the file of a test can be written");
}

#[test]
fn the_sticky_file_pins_while_it_names_an_uplink() {
    let _turn = turn::shared();
    let (settings, file) = with_sticky_file();
    let (site, mut daemon) = running(&settings);
    traffic_leaves_by(&site, 0);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Tight);
    write(&file, b"  lte \n");
    traffic_leaves_by(&site, 1);
    wait_until_pinned(&mut daemon, json!("lte"), json!("file"));

    site.providers[1].black_hole();
    daemon.wait_until_down("lte");
    assert_eq!(
        route_watch::way_to(&site.router, TARGET),
        Some(site.ifindex(1))
    );
    site.providers[1].repair();

    write(&file, b"\n");
    traffic_leaves_by(&site, 0);
    wait_until_pinned(&mut daemon, Value::Null, Value::Null);
    write(&file, b"lte");
    traffic_leaves_by(&site, 1);
    fs::remove_file(&file).unwrap();
    traffic_leaves_by(&site, 0);
    assert_eq!(watch.finish().count.without_route, 0);
}

#[test]
fn the_sticky_file_is_there_from_the_start_and_has_the_last_word() {
    let _turn = turn::shared();
    let (settings, file) = with_sticky_file();
    write(&file, b"lte\n");
    let site = Plan::new(&["wan1", "wan2"]).build();
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    traffic_leaves_by(&site, 1);
    let refused = pin(&site, &settings, &["fibre"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused.stderr.contains(&*file.to_string_lossy()),
        "{}",
        refused.stderr
    );
    let cleared = pin(&site, &settings, &["--clear"]);
    assert_eq!(cleared.status.code(), Some(0), "{}", cleared.stderr);
    assert_eq!(cleared.stdout, "lte is pinned\n");
    assert!(
        cleared.stderr.contains("the sticky file"),
        "{}",
        cleared.stderr
    );

    fs::remove_file(&file).unwrap();
    traffic_leaves_by(&site, 0);
    assert_eq!(pin(&site, &settings, &["lte"]).status.code(), Some(0));
    traffic_leaves_by(&site, 1);
    write(&file, b"fibre");
    traffic_leaves_by(&site, 0);
    wait_until_pinned(&mut daemon, json!("fibre"), json!("file"));
    write(&file, b"");
    wait_until_pinned(&mut daemon, json!("lte"), json!("command"));
    traffic_leaves_by(&site, 1);
}

#[test]
fn a_sticky_file_that_makes_no_sense_pins_nothing_and_is_named_once() {
    let _turn = turn::shared();
    let (settings, file) = with_sticky_file();
    let (site, mut daemon) = running(&settings);
    let huge = vec![b'x'; 1 << 20];
    for (content, part) in [
        (
            &b"cable\n"[..],
            "\"cable\" is no uplink; there are: fibre, lte",
        ),
        (b"\xff\xfe\x00lte", "\\0lte\" is not a line of text"),
        (b"lte\nfibre\n", "\"lte\\nfibre\" is not a line of text"),
        (&huge, "4096 bytes"),
    ] {
        write(&file, b"lte");
        wait_until_pinned(&mut daemon, json!("lte"), json!("file"));
        write(&file, content);
        wait_until_pinned(&mut daemon, Value::Null, Value::Null);
        traffic_leaves_by(&site, 0);
        let status = daemon.status().unwrap();
        let warnings = status["warnings"].as_array().unwrap();
        assert!(
            warnings
                .iter()
                .any(|warning| warning.as_str().unwrap().contains(part)),
            "{part}: {status:#}"
        );
        let log = daemon.process().log();
        let said = log.lines().filter(|line| line.contains(part));
        assert_eq!(
            said.filter(|line| line.contains("WARN")).count(),
            1,
            "{part}: {log}"
        );
    }
}

#[test]
fn pinning_where_nothing_can_be_written_works_and_says_that_it_will_be_forgotten() {
    let _turn = turn::shared();
    let settings = two_uplinks(Settings::quick());
    fs::write(settings.directory().join("state"), "a file in its place").unwrap();
    let (site, _daemon) = running(&settings);
    let done = pin(&site, &settings, &["lte"]);
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    assert!(
        done.stderr.contains("forgotten at the next start"),
        "{}",
        done.stderr
    );
    traffic_leaves_by(&site, 1);
}

#[test]
fn the_control_socket_survives_what_is_no_request() {
    let _turn = turn::shared();
    let namespace = Namespace::new("socket");
    let settings = two_uplinks(Settings::quick());
    let mut daemon = Daemon::start(&namespace, &settings);
    daemon.wait_for("an answer", daemon::START_DEADLINE, |_| true);
    for request in [
        &b"\n"[..],
        b"pin",
        b"pin \xff\xfe\n",
        b"nothing\n",
        &[b'p'; 4096],
    ] {
        use std::io::{Read, Write};
        let mut stream = std::os::unix::net::UnixStream::connect(settings.socket()).unwrap();
        // What is too long is not read to its end.
        let _ = stream.write_all(request);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(
            answer.is_empty() || answer.contains("error") || answer.contains("\"ok\""),
            "{request:?}: {answer}"
        );
    }
    daemon.wait_for("an answer", DEADLINE, |status| status["pinned"].is_null());
}
