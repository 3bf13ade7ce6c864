//! Programs that take pingu's routes away.

use std::{
    io::Write,
    process::{Child, Stdio},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::JoinHandle,
    time::Duration,
};

use pingu_tests::lab::{
    daemon::Daemon,
    namespace::Namespace,
    route_monitor::RouteMonitor,
    route_watch::{self, Pace, RouteWatch},
    routes,
    settings::Settings,
    site::{Plan, TARGET},
    turn,
    wait::wait_until,
};

use crate::running::{running, two_uplinks};

const DEADLINE: Duration = Duration::from_secs(10);

/// How often the rival deletes.
const EVERY: Duration = Duration::from_millis(20);

/// Deletions that a fight here consists of, at least.
const BLOWS: usize = 150;

/// Restorations that are allowed in a fight of a few seconds: ten at once, twenty with half a second between them, then hardly any;
/// some more for what was added but not yet announced.
const RESTORED_MAX: usize = 40;

/// While another default stands, no more than so many restorations are made within this time.
const RESTORED_IF_HELD: usize = 20;
const HELD: Duration = Duration::from_secs(5);

/// The longest that a route is left out of the table, and some time to notice.
const RESTORED_WITHIN: Duration = Duration::from_secs(20);

/// One process that carries out an `ip` command again and again.
struct Rival {
    child: Child,
    stop: Sender<()>,
    thread: Option<JoinHandle<usize>>,
}

impl Rival {
    fn start(namespace: &Namespace, line: &'static str) -> Self {
        let mut command = namespace.command("ip");
        command.args(["-force", "-batch", "-"]);
        command.stdin(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("`ip` can be started");
        let mut input = child.stdin.take().expect("its standard input is a pipe");
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut blows = 0;
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                if writeln!(input, "{line}").is_err() {
                    break;
                }
                blows += 1;
            }
            blows
        });
        Self {
            child,
            stop,
            thread: Some(thread),
        }
    }

    /// Ends it, and says how many times it struck.
    fn finish(mut self) -> usize {
        let _ = self.stop.send(());
        let thread = self.thread.take().expect("it is joined once");
        let blows = thread.join().expect("it writes lines only");
        self.child.wait().expect("a child can be waited for");
        blows
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn whoever_keeps_deleting_an_own_route_is_named_and_not_fought_without_end() {
    let _turn = turn::alone();
    let settings = two_uplinks(Settings::quick());
    let (site, mut daemon) = running(&settings);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    let before = routes::own(&site.router);
    let monitor = RouteMonitor::start(&site.router);
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Tight);
    let rival = Rival::start(&site.router, "route del default proto 136 metric 88");
    let name = format!("by ip (pid {})", rival.child.id());
    let status = daemon.wait_for("the rival's name", DEADLINE, |status| {
        warnings(status)
            .iter()
            .any(|warning| warning.contains(&name))
    });
    let warning = warnings(&status)
        .into_iter()
        .find(|warning| warning.contains(&name))
        .unwrap();
    assert!(
        warning.starts_with("own default route over wan1 was deleted "),
        "{warning}"
    );
    let deletions = || {
        let events = monitor.events();
        let of_ours = |event: &&String| event.contains("proto 136") && event.contains("metric 88");
        let (gone, back): (Vec<&String>, Vec<&String>) = events
            .iter()
            .filter(of_ours)
            .partition(|event| event.starts_with("Deleted"));
        (gone.len(), back.len())
    };
    wait_until("the fight to abate", DEADLINE, || match deletions() {
        (gone, back) if gone >= 12 => Ok(back),
        other => Err(format!("{other:?}")),
    });
    let sent = probes(&daemon.status().unwrap());
    daemon.wait_for("some seconds of it", DEADLINE * 2, |status| {
        probes(status) >= sent + 60
    });
    let blows = rival.finish();
    let sightings = watch.finish();
    let (gone, back) = deletions();
    assert!(blows >= BLOWS, "{blows}");
    assert!(
        gone >= 12 && back <= RESTORED_MAX,
        "{gone} gone, {back} back"
    );
    assert_eq!(sightings.count.without_route, 0, "{sightings:?}");

    wait_until("the own routes to be back", RESTORED_WITHIN, || {
        let own = routes::own(&site.router);
        (own == before)
            .then_some(())
            .ok_or_else(|| format!("{own:?}"))
    });
}

#[test]
fn the_last_default_is_put_back_at_once_even_in_a_fight() {
    let _turn = turn::shared();
    let settings = Settings::quick()
        .uplink("fibre", "wan1", "10.0.1.1", 88)
        .uplink("lte", "wan2", "10.0.2.1", 89);
    let site = Plan::new(&["wan1", "wan2"]).without_defaults().build();
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
    let monitor = RouteMonitor::start(&site.router);
    let rival = Rival::start(&site.router, "route flush proto 136");
    wait_until("more restorations than beside another", HELD, || {
        let events = monitor.events();
        let is_back =
            |event: &&String| !event.starts_with("Deleted") && event.contains("metric 88");
        let back = events.iter().filter(is_back).count();
        (back > RESTORED_IF_HELD)
            .then_some(())
            .ok_or_else(|| back.to_string())
    });
    daemon.wait_for("the fight to be told", DEADLINE, |status| {
        let told = |warning: &String| warning.contains(" by ip (pid ");
        warnings(status).iter().any(told)
    });
    rival.finish();
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
}

fn warnings(status: &serde_json::Value) -> Vec<String> {
    let warnings = status["warnings"].as_array().expect("a list");
    warnings
        .iter()
        .map(|warning| warning.as_str().expect("a text").to_owned())
        .collect()
}

/// How many probes went out by the first uplink.
fn probes(status: &serde_json::Value) -> u64 {
    use pingu_tests::lab::status::{counter, target};
    counter(target(status, "fibre", 0), "sent")
}
