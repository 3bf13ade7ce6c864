//! Ten thousand prefixes: they move together, and the loop has time for everything else.

use std::time::Duration;

use pingu_tests::lab::{
    daemon::Daemon,
    routes,
    settings::Settings,
    site::{Plan, Site},
    turn,
    wait::wait_until,
};

const PREFIXES: u32 = 10_000;

/// A program without optimisation on a busy machine takes seconds; comparing each route with every other one took a minute.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until the first route to each prefix leaves by this interface.
#[track_caller]
fn wait_until_by(site: &Site, interface: &str) {
    wait_until("all prefixes to move", DEADLINE, || {
        let own = routes::own(&site.router);
        let mut first_of: Vec<(&str, &str)> = Vec::new();
        for line in own.iter().filter(|line| line.starts_with("100.")) {
            let destination = line.split_whitespace().next().expect("a line has a word");
            if first_of.last().is_none_or(|(last, _)| *last != destination) {
                first_of.push((destination, line));
            }
        }
        let device = format!(" dev {interface} ");
        let by = first_of.iter().filter(|(_, line)| line.contains(&device));
        match by.count() {
            count if count == PREFIXES as usize && count == first_of.len() => Ok(()),
            count => Err(format!(
                "{count} of {} leave by {interface}",
                first_of.len()
            )),
        }
    });
}

#[test]
fn ten_thousand_prefixes_move_there_and_back_and_status_answers_all_the_while() {
    let _turn = turn::alone();
    let prefixes: Vec<String> = (0..PREFIXES)
        .map(|number| {
            let [_, _, high, low] = number.to_be_bytes();
            format!("\"100.64.{high}.{low}/32\"")
        })
        .collect();
    let group = format!(
        "name = \"wan\"\nmode = \"ordered\"\nprefixes = [{}]",
        prefixes.join(", ")
    );
    let settings = Settings::quick()
        .group(&group)
        .member("fibre", "wan1", "auto", "")
        .member("lte", "wan2", "auto", "");
    let site = Plan::new(&["wan1", "wan2"]).build();
    let mut daemon = Daemon::start(&site.router, &settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    wait_until_by(&site, "wan1");
    site.providers[0].set_carrier(false);
    wait_until_by(&site, "wan2");
    daemon.wait_until_down("fibre");
    site.providers[0].set_carrier(true);
    wait_until_by(&site, "wan1");
    daemon.wait_until_up(&["fibre", "lte"]);
    assert!(daemon.stop().success());
    assert_eq!(routes::own(&site.router), [] as [String; 0]);
}
