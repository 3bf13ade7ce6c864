//! `[[hook]]`: what commands are told at a real failover, and that nothing they do reaches the probing.
#![expect(
    clippy::disallowed_methods,
    reason = "the time from a cut to the new route is what is tested"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use pingu_tests::lab::{
    daemon::Daemon,
    route_watch::{self, Pace, RouteWatch},
    settings::Settings,
    site::{Plan, Site, TARGET},
    status,
    stopwatch::Stopwatch,
    turn,
    wait::wait_until,
};
use serde_json::Value;
use tempfile::TempDir;

mod often;

const DEADLINE: Duration = Duration::from_secs(15);

/// The goal for a black hole, whatever hooks do.
const FAILOVER_MAX: Duration = Duration::from_millis(700);

/// A directory in which scripts write what they see.
struct Notes(TempDir);

impl Notes {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory can be made"))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A script that appends one line to a file for each run, whole.
    fn line(&self, name: &str, text: &str) -> String {
        format!("echo \"{text}\" >> {}", self.at(name).display())
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.at(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    #[track_caller]
    fn wait_for_lines(&self, name: &str, count: usize) -> Vec<String> {
        wait_until(&format!("{count} lines in {name}"), DEADLINE, || {
            let lines = self.lines(name);
            if lines.len() >= count {
                Ok(lines)
            } else {
                Err(format!("{lines:?}"))
            }
        })
    }
}

fn hook(on: &str, script: &str, more: &str) -> String {
    format!("[[hook]]\non = {on}\ncommand = [\"/bin/sh\", \"-c\", '''{script}''']\n{more}\n")
}

fn started(settings: Settings, hooks: &str) -> (Site, Settings, Daemon) {
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = settings
        .uplink("fibre", "wan1", "auto", 88)
        .uplink_with("lte", "wan2", "auto", 89, hooks);
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    (site, settings, daemon)
}

/// A hook as status has it, once it is as wanted.
#[track_caller]
fn wait_for_hook(
    daemon: &mut Daemon,
    place: usize,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let status = daemon.wait_for(&format!("the hook {what}"), DEADLINE, |status| {
        wanted(&status["hooks"][place])
    });
    status["hooks"][place].clone()
}

fn count(hook: &Value, key: &str) -> u64 {
    hook[key]
        .as_u64()
        .unwrap_or_else(|| panic!("{key}: {hook:#}"))
}

/// Cuts the first uplink, and tells how long traffic took to leave by the other.
fn cut(site: &Site) -> Duration {
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Tight);
    let stopwatch = Stopwatch::start();
    site.providers[0].black_hole();
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
    let stalled = stopwatch.stalled();
    let begin = stopwatch.started();
    let moved = watch.finish().first_by(site.ifindex(1), begin);
    (moved.expect("it was just waited for") - begin).saturating_sub(stalled)
}

#[test]
fn a_failover_is_told_with_all_facts_in_variables_and_in_json() {
    let _turn = turn::alone();
    let notes = Notes::new();
    let directory = notes.0.path().display();
    // The run whose file has its last name is complete.
    let script = format!(
        "d={directory}; n=$PINGU_EVENT-$PINGU_UPLINK; env > $d/$n.env; ls -l /proc/self/fd > $d/$n.fds; \
         cat > $d/$n.json; grep -E 'Sig(Blk|Ign)' /proc/self/status > $d/$n.signals; \
         echo \"$0|$1\" > $d/$n.arguments; echo >> $d/$n.done"
    );
    let hooks = format!(
        "[[hook]]\non = [\"up\", \"down\", \"switch\"]\nname = \"tell\"\n\
         command = [\"/bin/sh\", \"-c\", '''{script}''', \"$(id)\", \"a  b; c\"]\n"
    );
    let (site, _settings, mut daemon) = started(Settings::quick(), &hooks);
    for name in ["up-fibre.done", "up-lte.done"] {
        notes.wait_for_lines(name, 1);
    }
    // Traffic left by it before pingu began.
    assert!(!notes.at("switch-fibre.done").exists());
    cut(&site);
    notes.wait_for_lines("down-fibre.done", 1);
    notes.wait_for_lines("switch-lte.done", 1);
    let environment = notes.lines("down-fibre.env");
    for line in [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG=C.UTF-8",
        "PINGU_HOOK=tell",
        "PINGU_EVENT=down",
        "PINGU_UPLINK=fibre",
        "PINGU_INTERFACE=wan1",
        "PINGU_GROUP=default",
        "PINGU_STATE=down",
        "PINGU_PREVIOUS=up",
        "PINGU_GATEWAY=10.0.1.1",
        "PINGU_SOURCE=10.0.1.2",
        "PINGU_METRIC=88",
        "PINGU_CAUSE=no-reply",
        "PINGU_FROM=",
        "PINGU_TO=",
    ] {
        assert!(
            environment.iter().any(|l| l == line),
            "{line}: {environment:#?}"
        );
    }
    let is_foreign = |line: &&String| {
        ![
            "PATH=", "LANG=", "PINGU_", "PWD=", "SHLVL=", "_=", "OLDPWD=",
        ]
        .iter()
        .any(|known| line.starts_with(known))
    };
    let foreign: Vec<&String> = environment.iter().filter(is_foreign).collect();
    assert!(foreign.is_empty(), "nothing is inherited: {foreign:?}");
    let json: Value =
        serde_json::from_str(&notes.lines("down-fibre.json").concat()).expect("one JSON object");
    assert_eq!(json["event"], "down", "{json:#}");
    assert_eq!(json["uplink"], "fibre", "{json:#}");
    assert_eq!(json["previous"], "up", "{json:#}");
    assert_eq!(json["gateway"], "10.0.1.1", "{json:#}");
    assert!(json["loss_percent"].as_f64() > Some(0.0), "{json:#}");
    assert!(json["rtt_ms"].is_f64() && json["to"].is_null(), "{json:#}");
    let switch = fs::read_to_string(notes.at("switch-lte.json")).expect("it was written");
    let switch: Value = serde_json::from_str(&switch).expect("one JSON object");
    assert_eq!(
        (&switch["from"], &switch["to"], &switch["interface"]),
        (&"fibre".into(), &"lte".into(), &"wan2".into()),
        "{switch:#}"
    );
    assert_eq!(notes.lines("down-fibre.arguments"), ["$(id)|a  b; c"]);
    for line in notes.lines("down-fibre.signals") {
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    // Its input and the two that its output goes to, and what the listing itself has open.
    let descriptors: Vec<String> = notes.lines("down-fibre.fds");
    let open = descriptors.iter().filter(|line| line.contains(" -> "));
    assert!(open.count() <= 4, "{descriptors:?}");
    let is_ours = |line: &String| {
        ["socket:", "bpf", "anon_inode"]
            .iter()
            .any(|w| line.contains(w))
    };
    assert!(!descriptors.iter().any(is_ours), "{descriptors:?}");
    site.providers[0].repair();
    notes.wait_for_lines("switch-fibre.done", 1);
    notes.wait_for_lines("up-fibre.done", 2);
    let hook = wait_for_hook(&mut daemon, 0, "to have run six times", |hook| {
        count(hook, "runs") >= 6
    });
    assert_eq!(count(&hook, "failures"), 0, "{hook:#}");
    assert_eq!(count(&hook, "dropped"), 0, "{hook:#}");
    assert!(daemon.stop().success());
}

#[test]
fn a_hook_that_sleeps_delays_neither_failover_nor_probes_and_ends_with_pingu() {
    let _turn = turn::alone();
    let notes = Notes::new();
    let script = format!(
        "sleep 1003 & echo $! >> {0}; echo $$ >> {0}; trap '' TERM; wait",
        notes.at("pids").display()
    );
    let hooks = hook("[\"up\", \"down\", \"bad\", \"switch\"]", &script, "");
    let (site, _settings, mut daemon) = started(Settings::quick(), &hooks);
    notes.wait_for_lines("pids", 2);
    let sent = |status: &Value| status::counter(status::target(status, "lte", 0), "sent");
    let before = sent(&daemon.status().expect("pingu answers"));
    let begin = Instant::now();
    let took = cut(&site);
    assert!(took <= FAILOVER_MAX, "{took:?}");
    daemon.wait_until_down("fibre");
    // Three each 200 ms: it never waits for more than two of its bursts.
    let status = daemon.wait_for("three more bursts", DEADLINE, |s| sent(s) >= before + 9);
    let (waited, probes) = (begin.elapsed(), sent(&status) - before);
    let least = (waited.as_millis() as u64 / 200).saturating_sub(2) * 3;
    assert!(probes >= least, "{probes} probes in {waited:?}");
    let hook = &status["hooks"][0];
    assert_eq!(
        (count(hook, "runs"), count(hook, "dropped")),
        (0, 0),
        "{hook:#}"
    );
    assert!(count(hook, "waiting") >= 2, "{hook:#}");
    let begin = Instant::now();
    assert!(daemon.stop().success());
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_all_gone(&notes.lines("pids"));
}

#[test]
fn a_hook_is_killed_at_its_limit_with_all_that_it_started() {
    let _turn = turn::alone();
    let notes = Notes::new();
    let script = format!(
        "sleep 1004 & echo $! >> {0}; (trap '' TERM; sleep 1005) & echo $! >> {0}; echo $$ >> {0}; wait",
        notes.at("pids").display()
    );
    let hooks = hook(
        "\"up\"",
        &script,
        "uplinks = [\"lte\"]\ntimeout = \"300ms\"",
    );
    let (_site, _settings, mut daemon) = started(Settings::quick(), &hooks);
    let hook = wait_for_hook(&mut daemon, 0, "to be killed", |h| {
        count(h, "timeouts") == 1
    });
    assert_eq!(count(&hook, "failures"), 1, "{hook:#}");
    let took = count(&hook["last"], "took_ms");
    assert!((300..1000).contains(&took), "{hook:#}");
    assert_eq!(hook["last"]["good"], false, "{hook:#}");
    let outcome = hook["last"]["outcome"].as_str().expect("it has one");
    assert!(outcome.contains("its time was over"), "{hook:#}");
    let pids = notes.lines("pids");
    assert!(pids.len() >= 3, "{pids:?}");
    assert_all_gone(&pids);
    daemon.process().wait_for_log("hook failed", DEADLINE);
}

#[test]
fn what_a_hook_leaves_behind_ends_with_it() {
    let _turn = turn::alone();
    let notes = Notes::new();
    let script = format!("sleep 1006 & echo $! > {}", notes.at("pids").display());
    let hooks = hook("\"up\"", &script, "uplinks = [\"lte\"]");
    let (_site, _settings, mut daemon) = started(Settings::quick(), &hooks);
    let hook = wait_for_hook(&mut daemon, 0, "to have run", |h| count(h, "runs") == 1);
    assert_eq!(count(&hook, "failures"), 0, "{hook:#}");
    assert!(count(&hook["last"], "took_ms") < 5000, "{hook:#}");
    assert_all_gone(&notes.lines("pids"));
}

#[test]
fn failures_are_logged_and_shown_with_what_the_command_wrote() {
    let _turn = turn::alone();
    let hooks = [
        hook(
            "\"up\"",
            "printf 'one\\ntwo \\033[2Jclear\\n'; echo oops >&2; cat > /dev/null; exit 3",
            "name = \"loud\"\nuplinks = \"lte\"",
        ),
        "[[hook]]\non = \"up\"\ncommand = [\"/nonexistent/program\"]\n".to_owned(),
        hook("\"up\"", "kill -SEGV $$", "name = \"killed\""),
        hook(
            "\"up\"",
            "yes | head -c 1000000",
            "name = \"yes\"\nuplinks = \"lte\"",
        ),
    ];
    let (_site, _settings, mut daemon) = started(Settings::quick(), &hooks.concat());
    for (place, name, runs, says) in [
        (0, "loud", 1, "exit status 3"),
        (1, "program", 2, "cannot run /nonexistent/program"),
        (2, "killed", 2, "killed by signal 11"),
    ] {
        let hook = wait_for_hook(&mut daemon, place, "to have failed", |hook| {
            count(hook, "failures") == runs
        });
        assert_eq!(hook["name"], name, "{hook:#}");
        let outcome = hook["last"]["outcome"].as_str().expect("it has one");
        assert!(outcome.contains(says), "{hook:#}");
    }
    let yes = wait_for_hook(&mut daemon, 3, "to have run", |hook| {
        count(hook, "runs") == 1
    });
    assert_eq!(count(&yes, "failures"), 0, "{yes:#}");
    for text in [
        "line=\"one\"",
        "line=\"two \\u{1b}[2Jclear\"",
        "line=\"oops\"",
        "outcome=\"exit status 3\"",
        "it writes more lines than are logged",
    ] {
        daemon.process().wait_for_log(text, DEADLINE);
    }
    let log = daemon.process().log();
    assert!(!log.contains('\u{1b}'), "a terminal obeys nothing of it");
    let lines = log.lines().filter(|line| line.contains("line=\"y\""));
    assert_eq!(lines.count(), 100);
    let table = daemon.table();
    assert!(
        table.contains("hook loud") && table.contains("exit status 3"),
        "{table}"
    );
}

#[test]
fn names_that_attack_a_shell_stay_names() {
    let _turn = turn::alone();
    let notes = Notes::new();
    let at = notes.at("name");
    let script = format!(
        "printf '%s|%s' \"$PINGU_UPLINK\" \"$PINGU_HOOK\" > {0}.new; mv {0}.new {0}",
        at.display()
    );
    let name = "$(reboot -f);`id`|\\\"x\\\" 'y' $PATH";
    let hooks = hook("\"up\"", &script, "name = \"$(id)\"");
    let site = Plan::new(&["wan1"]).build();
    let settings = Settings::quick().uplink_with(name, "wan1", "auto", 88, &hooks);
    let _daemon = Daemon::start(&site.router, &settings);
    let written = wait_until("the name to be written", DEADLINE, || {
        fs::read_to_string(&at).map_err(|error| error.to_string())
    });
    assert_eq!(written, "$(reboot -f);`id`|\"x\" 'y' $PATH|$(id)");
}

#[track_caller]
fn assert_all_gone(pids: &[String]) {
    wait_until("all of them to be gone", DEADLINE, || {
        let mut alive = pids.iter().filter(|pid| is_alive(pid));
        alive.next().map_or(Ok(()), |pid| Err(pid.clone()))
    });
}

/// Whether it runs what a hook started: a number may have been given to somebody else since.
fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    let is_of_hook = |stat: &str| stat.contains("(sleep)") || stat.contains("(sh)");
    stat.is_ok_and(|stat| is_of_hook(&stat) && !stat.contains(") Z "))
}
