//! Scripts that advise the daemon, and scripts that try to hurt it, with traffic and probes watched all the while.
#![expect(
    clippy::disallowed_methods,
    reason = "the time from a cut to the new route is what is tested"
)]

use std::{
    fs,
    time::{Duration, Instant},
};

use pingu::{
    engine::ExtraRoute,
    script::module::{Alone, Host, RouteOrder},
    units::{Metric, Protocol, TableId},
};
use pingu_tests::lab::{
    daemon::{self, Daemon},
    route_watch::{self, Pace, RouteWatch},
    routes,
    settings::Settings,
    site::{Plan, Site, TARGET},
    status, turn,
    wait::wait_until,
};
use serde_json::Value;

use crate::running::two_uplinks;

mod abuse;
mod hung;

const DEADLINE: Duration = Duration::from_secs(15);

/// A configuration with a script.
fn with(top: &str, script: &str) -> Settings {
    let settings = two_uplinks(Settings::quick().top(top));
    fs::write(settings.directory().join("policy.lua"), script).expect("a file can be written");
    settings
}

fn start(settings: &Settings) -> (Site, Daemon) {
    let site = Plan::new(&["wan1", "wan2"]).build();
    let mut daemon = Daemon::start(&site.router, settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    (site, daemon)
}

#[track_caller]
fn leaves_by(site: &Site, uplink: usize) {
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(uplink), DEADLINE);
}

fn warnings(status: &Value) -> String {
    status["warnings"].to_string()
}

#[test]
fn a_script_s_order_moves_the_default_and_its_first_choice_is_left_when_it_dies() {
    let _turn = turn::shared();
    for mode in ["metric", "ordered"] {
        let script = "function rank(uplinks)\n\
                        table.sort(uplinks, function(a, b) return a:name() > b:name() end)\n\
                        return uplinks\n\
                      end";
        let mut settings = with("script = \"policy.lua\"\nsandbox = true", script);
        if mode == "ordered" {
            let of = |name: &str| format!("group = \"main\"\n# {name}");
            settings = Settings::quick()
                .top("script = \"policy.lua\"")
                .group("name = \"main\"\nmode = \"ordered\"\nstart_metric = 50")
                .member("fibre", "wan1", "auto", &of("fibre"))
                .member("lte", "wan2", "auto", &of("lte"));
            fs::write(settings.directory().join("policy.lua"), script).expect("it can be written");
        }
        let (site, mut daemon) = start(&settings);
        leaves_by(&site, 1);
        daemon.wait_for("the reason to name the script", DEADLINE, |status| {
            status::reason(status, "lte").contains("the script ranks it first")
        });
        site.providers[1].black_hole();
        leaves_by(&site, 0);
        site.providers[1].repair();
        leaves_by(&site, 1);
    }
}

#[test]
fn a_script_sees_measurements_and_ranks_by_them() {
    let _turn = turn::shared();
    let settings = with(
        "script = \"policy.lua\"",
        "function rank(uplinks)\n\
           table.sort(uplinks, function(a, b) return (a:loss() or 0) < (b:loss() or 0) end)\n\
           return uplinks\n\
         end",
    );
    let (site, mut daemon) = start(&settings);
    leaves_by(&site, 0);
    site.providers[0].lose_of_each(1, 10);
    leaves_by(&site, 1);
    let status = daemon.status().expect("it answers");
    assert_eq!(status::state(&status, "fibre"), "up", "it still is");
    daemon.wait_until_up(&["fibre", "lte"]);
}

#[test]
fn a_veto_holds_a_failback_but_nothing_on_an_uplink_that_is_down() {
    let _turn = turn::shared();
    let settings = with(
        "script = \"policy.lua\"",
        "function veto(from, to)\n\
           if from:name() == 'lte' and from:state() == 'up' then return 'it is peak time for ' .. to:name() end\n\
         end",
    );
    let (site, mut daemon) = start(&settings);
    leaves_by(&site, 0);
    site.providers[0].black_hole();
    leaves_by(&site, 1);
    daemon.wait_until_down("fibre");
    site.providers[0].repair();
    daemon.wait_until_up(&["fibre", "lte"]);
    daemon.wait_for("the veto to be told", DEADLINE, |status| {
        status::reason(status, "lte")
            .contains("the script vetoes the switch to fibre: it is peak time for fibre")
    });
    let watch = RouteWatch::start(&site.router, TARGET, Pace::Tight);
    let until = Instant::now() + Duration::from_secs(3);
    wait_until("three seconds to pass", DEADLINE, || {
        if Instant::now() >= until {
            Ok(())
        } else {
            Err("not yet".to_owned())
        }
    });
    let moved = watch
        .finish()
        .changes
        .iter()
        .any(|change| change.ifindex == Some(site.ifindex(0)));
    assert!(!moved, "the veto holds");
    let cut = Instant::now();
    site.providers[1].black_hole();
    leaves_by(&site, 0);
    assert!(
        cut.elapsed() < Duration::from_secs(3),
        "{:?}",
        cut.elapsed()
    );
}

#[test]
fn what_a_script_wishes_is_done_and_undone() {
    let _turn = turn::shared();
    let settings = with(
        "script = \"policy.lua\"",
        "pingu.route{ to = '203.0.113.0/24', dev = 'wan2', metric = 7 }\n\
         pingu.route{ to = '198.51.100.0/24', dev = 'wan1', table = 77 }\n\
         pingu.log('the script says hello')\n\
         pingu.after(1, function()\n\
           pingu.uplinks()[2]:prefer()\n\
           pingu.after(4, function()\n\
             pingu.unprefer()\n\
             pingu.route{ to = '203.0.113.0/24', delete = true }\n\
             pingu.after(4, function() pingu.pin('lte') end)\n\
           end)\n\
         end)",
    );
    let (site, mut daemon) = start(&settings);
    let routed = |table: &str, to: &str| {
        // A table that holds nothing is not there to be shown.
        let all = site.router.ip("route show table all");
        let mut lines = all.lines();
        lines.any(|line| {
            let is_there = match table {
                "main" => !line.contains(" table "),
                table => line.contains(&format!(" table {table} ")),
            };
            line.starts_with(to) && is_there
        })
    };
    wait_until("the script's routes", DEADLINE, || {
        let found = (
            routed("main", "203.0.113.0/24"),
            routed("77", "198.51.100.0/24"),
        );
        if found == (true, true) {
            Ok(())
        } else {
            Err(format!("{found:?}"))
        }
    });
    leaves_by(&site, 1);
    leaves_by(&site, 0);
    wait_until("the deletion", DEADLINE, || {
        if routed("main", "203.0.113.0/24") {
            Err("still there".to_owned())
        } else {
            Ok(())
        }
    });
    assert!(routed("77", "198.51.100.0/24"));
    leaves_by(&site, 1);
    daemon.wait_for("the pin", DEADLINE, |status| status["pinned"] == "lte");
    assert!(daemon.process().log().contains("the script says hello"));
    assert!(daemon.stop().success());
    assert!(
        routes::own(&site.router).is_empty(),
        "{:?}",
        routes::own(&site.router)
    );
    assert!(!routed("77", "198.51.100.0/24"));
}

#[test]
fn a_script_that_fails_is_told_with_its_line_and_changes_nothing() {
    let _turn = turn::shared();
    for (script, told, logged) in [
        (
            "\nfunction rank(uplinks)\n  local x = uplinks[9]:name()\nend",
            "policy.lua:3: attempt to index field '?' (a nil value)",
            "stack traceback",
        ),
        (
            "function rank() return 7 end",
            "rank must return an array",
            "rank",
        ),
        (
            "function rank() return { 'lte', {} } end",
            "number 2 is a table",
            "rank",
        ),
        (
            "\nerror('at the start')",
            "policy.lua:2: at the start",
            "stack traceback",
        ),
        (
            "function rank() while true do end end",
            "more than 100 ms of processor time",
            "stack traceback",
        ),
        (
            "function rank() local t = {} while true do t[#t + 1] = ('x'):rep(1e6) .. #t end end",
            "not enough memory",
            "rank",
        ),
        (
            "function rank() return { 'fibre', 'cable' } end",
            "\\\"cable\\\", which is no uplink",
            "cable",
        ),
        (
            "pingu.pin('cable')",
            "there is no uplink \\\"cable\\\"",
            "cable",
        ),
    ] {
        let settings = with("script = \"policy.lua\"", script);
        let (site, mut daemon) = start(&settings);
        leaves_by(&site, 0);
        daemon.wait_for(told, DEADLINE, |status| warnings(status).contains(told));
        daemon.process().wait_for_log(logged, DEADLINE);
    }
}

#[test]
fn a_script_that_is_not_there_or_no_lua_is_an_error_at_the_start() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    for (script, told) in [
        (None, "cannot be read"),
        (Some("function rank("), "policy.lua:1:"),
    ] {
        let settings = with("script = \"policy.lua\"", script.unwrap_or_default());
        if script.is_none() {
            fs::remove_file(settings.directory().join("policy.lua")).expect("it is there");
        }
        let path = settings.write();
        let ended = daemon::run_to_end(&site.router, &["--config", &path.to_string_lossy()]);
        assert_eq!(ended.status.code(), Some(78), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("pingu.toml:3:10: error: `script`"),
            "{}",
            ended.stderr
        );
        assert!(ended.stderr.contains(told), "{}", ended.stderr);
    }
}

#[test]
fn routes_of_a_script_without_a_daemon_touch_no_other_and_go_with_it() {
    let _turn = turn::shared();
    let site = Plan::new(&["wan1", "wan2"]).build();
    let host = Alone::new(Protocol(136), Instant::now);
    let opened = site.router.enter(|| host.open());
    opened.expect("a thread can be started");
    let route = |to: &str, metric: u32| ExtraRoute {
        destination: to.parse().expect("a prefix"),
        gateway: None,
        interface: Some("wan2".to_owned()),
        metric: Metric(metric),
        table: TableId::MAIN,
    };
    let deletion = |to: &str| RouteOrder::Delete {
        destination: to.parse().expect("a prefix"),
        gateway: None,
        interface: None,
        metric: None,
        table: TableId::MAIN,
    };
    let shown = |to: &str| site.router.ip(&format!("route show {to}"));
    site.router
        .ip("route add 198.51.100.0/24 dev wan1 metric 5 proto static");
    let foreign = shown("198.51.100.0/24");
    let refused = host.route(RouteOrder::Add(route("198.51.100.0/24", 5)));
    assert!(refused.is_err(), "somebody else's route is there");
    assert_eq!(host.route(deletion("198.51.100.0/24")), Ok(()));
    assert_eq!(shown("198.51.100.0/24"), foreign, "it is not the script's");

    for to in ["203.0.113.0/24", "192.0.2.0/24"] {
        assert_eq!(host.route(RouteOrder::Add(route(to, 7))), Ok(()));
        assert!(shown(to).contains("dev wan2 proto 136"), "{}", shown(to));
    }
    assert_eq!(host.route(deletion("203.0.113.0/24")), Ok(()));
    assert_eq!(shown("203.0.113.0/24"), "");
    drop(host);
    assert_eq!(shown("192.0.2.0/24"), "", "it goes with the script");
    assert_eq!(shown("198.51.100.0/24"), foreign);
}
