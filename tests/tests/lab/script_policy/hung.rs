//! A script that no budget can end: its thread is given up, and everything else goes on.

use pingu_tests::lab::{settings::Settings, status, turn};

use super::{DEADLINE, leaves_by, start, warnings, with};

/// Reads blanks for a number that never comes, within one call of the library: no hook of the machine is asked there, and the thread's
/// time runs. The first run alone does so, and leaves a mark.
const HANGS_ONCE: &str = "
local hung = function()
  local mark = io.open('MARK')
  if mark then mark:close() return end
  io.open('MARK', 'w'):close()
  io.popen(\"yes ''\"):read('*n')
end
";

/// The lower uplink first.
const REVERSED: &str =
    "table.sort(uplinks, function(a, b) return a:name() > b:name() end) return uplinks";

#[test]
fn a_ranking_that_nothing_stops_is_given_up_and_started_again() {
    let _turn = turn::shared();
    given_up_and_started_again(&format!("function rank(uplinks) hung() {REVERSED} end"));
}

#[test]
fn a_script_whose_main_part_never_ends_is_given_up_and_started_again() {
    let _turn = turn::shared();
    given_up_and_started_again(&format!("hung() function rank(uplinks) {REVERSED} end"));
}

#[test]
fn a_veto_that_never_comes_holds_no_traffic() {
    let _turn = turn::shared();
    let settings = hanging("function veto(from, to) hung() end");
    let (site, mut daemon) = start(&settings);
    leaves_by(&site, 0);
    // The first switch that is asked about hangs.
    site.providers[0].black_hole();
    leaves_by(&site, 1);
    site.providers[0].repair();
    leaves_by(&site, 0);
    daemon.wait_for("the script to hang and run again", DEADLINE, |_| {
        settings.directory().join("mark").exists()
    });
    daemon
        .process()
        .wait_for_log("could not be stopped", DEADLINE);
    site.providers[0].black_hole();
    leaves_by(&site, 1);
}

fn given_up_and_started_again(script: &str) {
    let settings = hanging(script);
    let (site, mut daemon) = start(&settings);
    let said =
        "a call did not end within its limit and could not be stopped; it is started again in 1 s";
    // It hangs already, and is not given up before it has had all of its time.
    site.providers[0].black_hole();
    leaves_by(&site, 1);
    site.providers[0].repair();
    daemon.process().wait_for_log(said, DEADLINE);
    // Started again it ranks, which is what moves the default route, and nobody warns of it any more.
    daemon.wait_until_up(&["fibre", "lte"]);
    leaves_by(&site, 1);
    let status = daemon.wait_for("the script to rank", DEADLINE, |status| {
        status::reason(status, "lte").contains("the script ranks it first")
            && !warnings(status).contains("could not be stopped")
    });
    assert!(status::all_up(&status, &["fibre", "lte"]), "{status:#}");
    // And the thread that was left to itself holds up nothing, not even the end.
    site.providers[1].black_hole();
    leaves_by(&site, 0);
    assert!(daemon.stop().success());
}

fn hanging(script: &str) -> Settings {
    let settings = with("script = \"policy.lua\"\nsandbox = false", "");
    let mark = settings.directory().join("mark");
    let hung = HANGS_ONCE.replace("MARK", &mark.display().to_string());
    let path = settings.directory().join("policy.lua");
    std::fs::write(path, format!("{hung}{script}")).expect("a file can be written");
    settings
}
