//! Programs as checks: what they find, and how they end.

use std::{fs, path::Path, time::Duration};

use pingu_tests::lab::{
    daemon::Daemon,
    settings::Settings,
    site::{Plan, Site},
    status, turn,
    wait::wait_until,
};

use super::{DEADLINE, check, first, wait_for_check};

fn exec(script: &str, more: &str) -> String {
    let lines = format!(
        "command = [\"/bin/sh\", \"-c\", {}, \"first\", \"a  b\"]\n{more}",
        toml_text(script)
    );
    check("exec", &lines)
}

fn toml_text(text: &str) -> String {
    format!("'''{text}'''")
}

fn started(checks: &str) -> (Site, Settings, Daemon) {
    let site = Plan::new(&["wan1", "wan2"]).build();
    let settings = Settings::quick()
        .uplink("fibre", "wan1", "auto", 88)
        .uplink_with("lte", "wan2", "auto", 89, checks);
    let daemon = Daemon::start(&site.router, &settings);
    (site, settings, daemon)
}

#[test]
fn a_program_finds_its_uplink_in_its_environment_and_nothing_else() {
    let _turn = turn::alone();
    let out = tempfile::tempdir().expect("a temporary directory can be made");
    let at = |name: &str| out.path().join(name);
    let script = format!(
        "env | sort > {0}/env.new; ls -l /proc/self/fd > {0}/fds; echo \"$0,$1\" > {0}/arguments; \
         echo $$ $(ps -o pgid= -p $$) > {0}/group.new; mv {0}/group.new {0}/group; pwd > {0}/directory; \
         mv {0}/env.new {0}/env",
        out.path().display()
    );
    let (_site, _settings, mut daemon) = started(&exec(&script, "name = \"mine\""));
    wait_for_check(&mut daemon, "lte", "up", "exit status 0");
    let read = |name: &str| fs::read_to_string(at(name)).expect("the program wrote it");
    let environment = read("env");
    let ifindex = _site.ifindex(1);
    for line in [
        "PINGU_UPLINK=lte".to_owned(),
        "PINGU_CHECK=mine".to_owned(),
        "PINGU_INTERFACE=wan2".to_owned(),
        format!("PINGU_IFINDEX={ifindex}"),
        "PINGU_SOURCE=10.0.2.2".to_owned(),
        "PINGU_GATEWAY=10.0.2.1".to_owned(),
        "PINGU_TABLE=136001".to_owned(),
        "PINGU_MTU=1500".to_owned(),
        "PINGU_TIMEOUT_MS=250".to_owned(),
    ] {
        assert!(
            environment.lines().any(|found| found == line),
            "{line}: {environment}"
        );
    }
    assert!(
        !environment.contains("NO_COLOR"),
        "the daemon's own is not inherited: {environment}"
    );
    assert_eq!(read("arguments"), "first,a  b\n", "no shell splits them");
    assert_eq!(read("directory"), "/\n");
    let group = read("group");
    let numbers: Vec<&str> = group.split_whitespace().collect();
    assert!(
        matches!(numbers[..], [own, of_group] if own == of_group),
        "it leads a group: {group}"
    );
    // The three, the listing's own file, and the directory that it reads.
    let descriptors: Vec<String> = read("fds")
        .lines()
        .filter(|line| line.contains(" -> "))
        .map(str::to_owned)
        .collect();
    let is_ours = |line: &String| {
        line.contains("socket:") || line.contains("bpf") || line.contains("anon_inode")
    };
    assert!(!descriptors.iter().any(is_ours), "{descriptors:?}");
    assert!(descriptors.len() <= 4, "{descriptors:?}");
}

#[test]
fn a_program_does_not_inherit_how_the_kernel_spares_pingu_when_memory_is_short() {
    let _turn = turn::alone();
    let out = tempfile::tempdir().expect("a temporary directory can be made");
    let score = out.path().join("score");
    let script = format!(
        "cat /proc/self/oom_score_adj > {0}.new; mv {0}.new {0}",
        score.display()
    );
    let (_site, _settings, mut daemon) = started(&exec(&script, ""));
    wait_for_check(&mut daemon, "lte", "up", "exit status 0");
    let own = format!("/proc/{}/oom_score_adj", daemon.process().id());
    // The kernel of a container may refuse a lower one; either is not for the program.
    fs::write(&own, "500").expect("anybody may expose a process");
    for _ in 0..2 {
        fs::remove_file(&score).expect("it was written");
        wait_until("another run", DEADLINE, || {
            score.exists().then_some(()).ok_or_else(String::new)
        });
    }
    let found = fs::read_to_string(&score).expect("it was just written");
    assert_eq!(found.trim(), "0");
}

#[test]
fn a_program_s_failures_have_their_words() {
    let _turn = turn::alone();
    let checks = [
        exec(
            "echo something; echo the reason >&2; exit 3",
            "name = \"exit\"\nrequired = false",
        ),
        exec("kill -SEGV $$", "name = \"signal\"\nrequired = false"),
        check(
            "exec",
            "command = [\"/nonexistent/program\"]\nname = \"none\"",
        ),
        exec("head -c 10000000 /dev/zero | tr '\\0' x", "name = \"loud\""),
        // More than a page waits in the pipe when it has ended.
        exec(
            "seq 10000; echo the end",
            "name = \"long\"\nrequired = false",
        ),
    ];
    let (_site, _settings, mut daemon) = started(&checks.concat());
    for (index, state, cause, says) in [
        (0, "down", Some("exit"), "sh: exit status 3: the reason"),
        (1, "down", Some("exit"), "sh: killed by signal 11"),
        // It says nothing of the uplink.
        (
            2,
            "unknown",
            Some("local"),
            "cannot run /nonexistent/program",
        ),
        (3, "up", None, "xxx"),
        (4, "up", None, "the end"),
    ] {
        let status = daemon.wait_for(
            &format!("check {index} to be {state}"),
            DEADLINE,
            |status| {
                let check = &status::uplink(status, "lte")["checks"][index];
                check["state"] == state && !check["last"].is_null()
            },
        );
        let check = &status::uplink(&status, "lte")["checks"][index];
        assert_eq!(check["cause"].as_str(), cause, "{check:#}");
        let last = check["last"].as_str().expect("it has run");
        assert!(last.contains(says) && last.len() < 300, "{check:#}");
    }
    let status = daemon.status().expect("pingu answers");
    assert_eq!(status::state(&status, "lte"), "up", "{status:#}");
    let warnings = status["warnings"].to_string();
    assert!(
        warnings.contains("check none of lte cannot be run"),
        "{warnings}"
    );
    daemon
        .process()
        .wait_for_log("output=\"something\\nthe reason\\n\"", DEADLINE);
}

#[test]
fn a_program_that_takes_too_long_is_killed_with_all_that_it_started() {
    let _turn = turn::alone();
    let out = tempfile::tempdir().expect("a temporary directory can be made");
    let pids = out.path().join("pids");
    let script = format!(
        "sleep 1000 & echo $! >> {0}; (trap '' TERM; sleep 1001) & echo $! >> {0}; echo $$ >> {0}; wait",
        pids.display()
    );
    let (_site, _settings, mut daemon) = started(&exec(&script, ""));
    let status = wait_for_check(&mut daemon, "lte", "down", "time is over");
    assert_eq!(first(&status, "lte")["cause"], "timeout", "{status:#}");
    assert_eq!(status::state(&status, "lte"), "down", "{status:#}");
    assert!(daemon.stop().success());
    let started = fs::read_to_string(&pids).expect("the program wrote it");
    assert!(started.lines().count() >= 6, "{started}");
    wait_until("all of them to be gone", DEADLINE, || {
        let mut alive = started.lines().filter(|pid| is_alive(pid));
        alive.next().map_or(Ok(()), |pid| Err(pid.to_owned()))
    });
}

#[test]
fn what_a_good_program_leaves_behind_goes_with_it_and_holds_nothing_up() {
    let _turn = turn::alone();
    let out = tempfile::tempdir().expect("a temporary directory can be made");
    let pid = out.path().join("pid");
    let script = format!("sleep 1002 & echo $! > {}; echo fine", pid.display());
    let (_site, _settings, mut daemon) = started(&exec(&script, ""));
    let status = wait_for_check(&mut daemon, "lte", "up", "fine");
    let took = first(&status, "lte")["took_ms"]
        .as_f64()
        .expect("it has run");
    assert!(took < 240.0, "{took} ms");
    let pid = fs::read_to_string(&pid).expect("the program wrote it");
    wait_until("it to be gone", Duration::from_secs(5), || {
        if is_alive(pid.trim()) {
            Err(pid.clone())
        } else {
            Ok(())
        }
    });
}

/// Whether it runs: one that nobody has waited for yet does not.
fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|stat| stat.contains("(sleep)") && !stat.contains(") Z "))
}
