//! The stage: router, two providers, Internet and LAN client, with pingu running on the router, and what can be seen of it.
#![expect(
    clippy::disallowed_methods,
    reason = "what is seen is stamped with the time"
)]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::lab::{
    daemon::Daemon,
    pinger::{Ping, Pinger},
    route_watch::{Change, Pace, RouteWatch},
    routes,
    site::{Plan, Site, TARGET},
};

/// The uplinks of config/pingu.toml: the preferred one, and the other.
pub(super) const INTERFACES: [&str; 2] = ["eno2", "wlo1"];

/// The LAN client sends ten packets a second.
pub(super) const LAN_EVERY: Duration = Duration::from_millis(100);

/// A millisecond is finer than anything shown.
const ROUTE_LOOK_EVERY: Duration = Duration::from_millis(1);

/// Everything that plays. Fields are dropped in this order: those who look, then the daemon, then the network.
pub(super) struct Scene {
    lan: Pinger,
    watch: RouteWatch,
    daemon: Daemon,
    site: Site,
    ifindexes: [u32; 2],
    _directory: TempDir,
}

/// The route to the Internet left by this uplink from this moment on; none where there was no route, or another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RouteChange {
    pub(super) at: Instant,
    pub(super) uplink: Option<usize>,
}

impl Scene {
    /// Builds the network and starts everybody.
    pub(super) fn build(config: &Path) -> Self {
        let site = Plan::new(&INTERFACES).dhcp().build();
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let ifindexes = [site.ifindex(0), site.ifindex(1)];
        let watch = RouteWatch::start(&site.router, TARGET, Pace::Every(ROUTE_LOOK_EVERY));
        let lan = Pinger::start(&site.lan, TARGET.into(), LAN_EVERY);
        let daemon =
            Daemon::start_with_file(&site.router, config, &directory.path().join("pingu.sock"));
        Self {
            lan,
            watch,
            daemon,
            site,
            ifindexes,
            _directory: directory,
        }
    }

    /// What pingu publishes, or why that cannot be had.
    pub(super) fn status(&self) -> Result<Value, String> {
        self.daemon.status()
    }

    /// What pingu has logged, if it has ended.
    pub(super) fn obituary(&mut self) -> Option<String> {
        let process = self.daemon.process();
        let status = process.ended()?;
        Some(format!("pingu ended ({status}):\n{}", process.log()))
    }

    /// Changes of the kernel's route since the last look.
    pub(super) fn route_changes(&self) -> Vec<RouteChange> {
        let uplink = |change: &Change| {
            self.ifindexes
                .iter()
                .position(|ifindex| Some(*ifindex) == change.ifindex)
        };
        self.watch
            .changes()
            .try_iter()
            .map(|change| RouteChange {
                at: change.at,
                uplink: uplink(&change),
            })
            .collect()
    }

    /// The LAN client's packets whose fate has been decided since the last look.
    pub(super) fn lan_pings(&self) -> Vec<Ping> {
        self.lan.decided()
    }

    /// Whether the default route over an uplink is pingu's own.
    pub(super) fn has_own_route(&self, uplink: usize) -> bool {
        routes::own_over(&self.site.router, INTERFACES[uplink]).is_some()
    }

    /// The preferred provider swallows everything from here on; gives the instant before it began.
    pub(super) fn cut(&self) -> Instant {
        let before = Instant::now();
        self.site.providers[0].black_hole();
        before
    }

    /// The preferred provider works again; gives the instant before it did.
    pub(super) fn repair(&self) -> Instant {
        let before = Instant::now();
        self.site.providers[0].repair();
        before
    }
}
