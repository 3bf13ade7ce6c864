//! What most tests begin with: a site with two uplinks, both up, traffic on the first.

use std::time::Duration;

use pingu_tests::lab::{
    daemon::Daemon,
    routes,
    settings::Settings,
    site::{Plan, Site},
    wait::wait_until,
};

/// More than anything here takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(10);

pub fn two_uplinks(settings: Settings) -> Settings {
    settings
        .uplink("fibre", "wan1", "auto", 88)
        .uplink("lte", "wan2", "auto", 89)
}

/// A site and its daemon, whose routes stand in the main table.
pub fn running(settings: &Settings) -> (Site, Daemon) {
    let site = Plan::new(&["wan1", "wan2"]).build();
    let mut daemon = Daemon::start(&site.router, settings);
    daemon.wait_until_up(&["fibre", "lte"]);
    wait_until("both own routes", DEADLINE, || {
        let own = routes::own(&site.router);
        let of_main = own.iter().filter(|line| !line.contains(" table "));
        if of_main.count() == 2 {
            Ok(())
        } else {
            Err(format!("{own:?}"))
        }
    });
    (site, daemon)
}
