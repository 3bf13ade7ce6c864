//! What the service manager is told: readiness once pingu works, what it does, its end, and heartbeats that only a stuck loop withholds.
#![expect(
    clippy::disallowed_methods,
    reason = "the time between two heartbeats is what is tested"
)]

use std::{
    ffi::OsStr,
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use pingu_tests::lab::{
    daemon::{Daemon, STOP_DEADLINE},
    namespace::Namespace,
    routes,
    script::Setting,
    settings::Settings,
    site::{Plan, Site},
    status, turn,
    wait::wait_until,
};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(15);

/// What a unit with `WatchdogSec=1` has in its environment: each half of it a beat.
const WATCHDOG: Duration = Duration::from_secs(1);

const BEAT: &str = "WATCHDOG=1";

/// A service manager's end of the socket.
pub(crate) struct Manager {
    socket: UnixDatagram,
    _directory: TempDir,
    pub(crate) path: std::path::PathBuf,
}

impl Manager {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket can be bound there");
        Self {
            socket,
            _directory: directory,
            path,
        }
    }

    /// The next message, if there is one in time.
    fn next(&self, within: Duration) -> Option<String> {
        let mut buffer = [0; 4096];
        // A timeout of nothing would mean none.
        let within = within.max(Duration::from_millis(1));
        self.socket
            .set_read_timeout(Some(within))
            .expect("it is not nothing");
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Messages until one says this; it is the last of them.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) -> Vec<String> {
        let end = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        while let Some(message) = self.next(end.saturating_duration_since(Instant::now())) {
            let is_wanted = message.contains(text);
            seen.push(message);
            if is_wanted {
                return seen;
            }
        }
        panic!("waited for {text:?}, seen instead: {seen:?}");
    }

    /// The longest time without a beat, and how many there were.
    fn beats(&self, during: Duration) -> (Duration, usize) {
        let begin = Instant::now();
        let (mut last, mut longest, mut count) = (begin, Duration::ZERO, 0);
        while begin.elapsed() < during {
            let left = during.saturating_sub(begin.elapsed());
            if self.next(left).is_some_and(|message| message == BEAT) {
                count += 1;
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
        }
        (longest.max(last.elapsed()), count)
    }

    fn drain(&self) {
        while self.next(Duration::ZERO).is_some() {}
    }
}

fn settings() -> Settings {
    Settings::quick()
        .uplink("fibre", "wan1", "auto", 88)
        .uplink("lte", "wan2", "auto", 89)
}

fn start(
    site: &Site,
    settings: &Settings,
    manager: &Manager,
    watchdog: Option<Duration>,
) -> Daemon {
    let us = watchdog.map(|time| time.as_micros().to_string());
    let mut environment = vec![("NOTIFY_SOCKET", manager.path.as_os_str())];
    environment.extend(us.as_ref().map(|us| ("WATCHDOG_USEC", OsStr::new(us))));
    Daemon::start_with_environment(&site.router, settings, &environment)
}

#[test]
fn readiness_comes_once_routes_are_seen_and_hooks_attached_then_what_changes_and_the_end() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let (manager, settings) = (Manager::new(), settings());
    let mut daemon = start(&site, &settings, &manager, None);
    let seen = manager.wait_for("READY=1");
    assert_eq!(seen.len(), 1, "nothing before: {seen:?}");
    let status = daemon.status().expect("who is ready answers");
    for uplink in ["fibre", "lte"] {
        assert!(
            !status::uplink(&status, uplink)["engine"].is_null(),
            "{status:#}"
        );
    }
    let seen = manager.wait_for("2 of 2 uplinks up, traffic leaves by fibre");
    site.providers[0].black_hole();
    let later = manager.wait_for("STATUS=1 of 2 uplinks up, traffic leaves by lte; down: fibre");
    let all = [seen, later].concat();
    assert!(all.iter().all(|m| m.starts_with("STATUS=")), "{all:?}");
    assert!(
        all.iter().all(|message| message.lines().count() == 1),
        "{all:?}"
    );
    assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
    daemon.process().signal(libc::SIGTERM);
    manager.wait_for("STOPPING=1");
    assert!(daemon.process().wait(STOP_DEADLINE).success());
}

#[test]
fn a_configuration_without_a_way_out_is_ready_as_well() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1"]).without_defaults().build();
    let manager = Manager::new();
    let settings = Settings::quick().uplink("absent", "nowhere0", "auto", 88);
    let _daemon = start(&site, &settings, &manager, None);
    manager.wait_for("READY=1");
}

#[test]
fn heartbeats_keep_coming_while_routes_are_churned_by_the_thousand() {
    let _turn = turn::alone();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let (manager, settings) = (Manager::new(), settings());
    let mut daemon = start(&site, &settings, &manager, Some(WATCHDOG));
    daemon.wait_until_up(&["fibre", "lte"]);
    // In main, so that all of them are news.
    let lines = |verb: &str| -> String {
        let route = |n: u32| {
            let (high, low) = (n / 250, n % 250);
            format!("route {verb} 198.18.{high}.{low}/32 dev wan1 metric 7\n")
        };
        (0..5000).map(route).collect()
    };
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let write = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a temporary file can be written");
        path
    };
    let (add, del) = (write("add", lines("add")), write("del", lines("del")));
    let script = format!(
        "while :; do ip -batch {}; ip -batch {}; done",
        add.display(),
        del.display()
    );
    let mut command = site.router.command("sh");
    command.args(["-c", &script]);
    let churn = pingu_tests::lab::process::Process::spawn("churn", command);
    let before = routes::own(&site.router);
    manager.drain();
    let (longest, count) = manager.beats(Duration::from_secs(6));
    println!("{count} beats in 6 s, at most {longest:?} apart");
    assert!(longest < WATCHDOG, "{longest:?} without a beat");
    assert!(count >= 10, "{count}");
    assert_eq!(routes::own(&site.router), before, "the churn moves none");
    drop(churn);
    assert!(daemon.stop().success());
}

#[test]
fn heartbeats_end_with_a_stuck_process_and_go_on_when_it_does() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let (manager, settings) = (Manager::new(), settings());
    let mut daemon = start(&site, &settings, &manager, Some(WATCHDOG));
    manager.wait_for(BEAT);
    daemon.wait_until_up(&["fibre", "lte"]);
    daemon.process().signal(libc::SIGSTOP);
    let stat = format!("/proc/{}/stat", daemon.process().id());
    wait_until("it to be stopped", DEADLINE, || {
        let line = std::fs::read_to_string(&stat).unwrap_or_default();
        if line.contains(") T ") {
            Ok(())
        } else {
            Err(line)
        }
    });
    manager.drain();
    let (_, count) = manager.beats(2 * WATCHDOG);
    assert_eq!(count, 0);
    daemon.process().signal(libc::SIGCONT);
    manager.wait_for(BEAT);
    assert!(daemon.stop().success());
}

#[test]
fn without_a_watchdog_and_for_another_process_there_are_no_heartbeats() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let manager = Manager::new();
    let environment = [
        ("NOTIFY_SOCKET", manager.path.as_os_str()),
        ("WATCHDOG_USEC", OsStr::new("100000")),
        ("WATCHDOG_PID", OsStr::new("1")),
    ];
    let settings = settings();
    let _daemon = Daemon::start_with_environment(&site.router, &settings, &environment);
    manager.wait_for("READY=1");
    assert_eq!(manager.beats(Duration::from_secs(1)).1, 0);
}

#[test]
fn nobody_at_the_other_end_stops_nothing() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = settings();
    // One that is not there, one that is no path, and one that nobody reads: its queue is full after a few messages.
    let manager = Manager::new();
    for path in [
        OsStr::new("/nonexistent/notify"),
        OsStr::new("@"),
        manager.path.as_os_str(),
    ] {
        let environment = [
            ("NOTIFY_SOCKET", path),
            ("WATCHDOG_USEC", OsStr::new("20000")),
        ];
        let mut daemon = Daemon::start_with_environment(&site.router, &settings, &environment);
        daemon.wait_until_up(&["fibre", "lte"]);
        assert!(daemon.stop().success());
    }
}

#[test]
fn a_script_that_decides_alone_is_ready_lives_and_ends() {
    let _turn = turn::shared();
    let (namespace, manager) = (Namespace::new("script"), Manager::new());
    let path = manager.path.display().to_string();
    let us = WATCHDOG.as_micros().to_string();
    let mut script = Setting::new("function on_quit() print('quit') end")
        .variable("NOTIFY_SOCKET", &path)
        .variable("WATCHDOG_USEC", &us)
        .start(&namespace);
    let seen = manager.wait_for("READY=1");
    assert!(
        seen.iter()
            .all(|message| message == BEAT || message.starts_with("READY=1"))
    );
    let (longest, count) = manager.beats(WATCHDOG * 2);
    assert!(longest < WATCHDOG && count > 1, "{longest:?} {count}");
    assert!(script.stop(libc::SIGTERM).success());
    manager.wait_for("STOPPING=1");
}
