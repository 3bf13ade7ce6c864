//! The whole daemon in a network of the lab: from a cut wire to the last route moved, and what it costs while others churn the table.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{
    Cost, Options, Row, Samples,
    monitor::{Monitor, last_move},
    mover::{Mode, group},
    wire::{HostRoute, Verb, Wire, datagrams, foreign_prefix},
};
use crate::lab::{
    daemon::Daemon,
    settings::Settings,
    site::{Plan, Site},
    wait::wait_until,
};

/// Ten thousand prefixes are there within a second; much later on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks at whether all prefixes have moved, which take time from what is measured.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Routes that another program changes in a second.
const CHURN_PER_SECOND: u32 = 1_000;

/// The routes that it adds and deletes in turns.
const CHURNED: u32 = 1_000;

/// A table of the other program's own.
const OTHER_TABLE: u32 = 1_000;

/// The other program's protocol number.
const FOREIGN: u8 = 250;

const INTERFACES: [&str; 2] = ["wan1", "wan2"];

/// A site with the daemon in it.
struct Running {
    site: Site,
    daemon: Daemon,
    _settings: Settings,
    ifindexes: [u32; 2],
}

impl Running {
    /// Returns when so many prefixes leave by the first uplink. `foreign` routes of somebody else's are in the main table.
    fn start(mode: Mode, count: u32, foreign: u32) -> Result<Self> {
        let site = Plan::new(&INTERFACES).without_defaults().build();
        let ifindexes = [site.ifindex(0), site.ifindex(1)];
        let main = u32::from(libc::RT_TABLE_MAIN);
        let others = datagrams(Verb::Add, &foreign_routes(ifindexes[1], main, 0, foreign));
        site.router.enter(|| Wire::open()?.write(&others))?;
        let mut settings = Settings::quick().group(&group(mode, count));
        for (place, interface) in INTERFACES.iter().enumerate() {
            let gateway = format!("10.0.{}.1", place + 1);
            settings = settings.member(interface, interface, &gateway, "");
        }
        let mut daemon = Daemon::start(&site.router, &settings);
        daemon.wait_until_up(&INTERFACES);
        let running = Self {
            site,
            daemon,
            _settings: settings,
            ifindexes,
        };
        running.wait_until_by(count, 0);
        Ok(running)
    }

    fn wait_until_by(&self, count: u32, uplink: usize) {
        let by = self.ifindexes[uplink];
        let mut looked = Instant::now();
        wait_until("all prefixes to move", DEADLINE, || {
            if looked.elapsed() < LOOK_EVERY {
                return Err("no look yet".to_owned());
            }
            looked = Instant::now();
            let ways = self.ways().map_err(|error| format!("{error:#}"))?;
            let there = ways.values().filter(|&&way| way == by).count();
            (there == count as usize && ways.len() == there)
                .then_some(())
                .ok_or(format!("{there} of {count}, {} in all", ways.len()))
        });
    }

    fn ways(&self) -> Result<BTreeMap<u32, u32>> {
        let none = BTreeMap::new();
        self.site.router.enter(|| Wire::open()?.ways(&none))
    }

    /// Cuts the first uplink, and tells how long the last route took to leave by the second.
    fn cut(&self, count: u32) -> Result<Duration> {
        let before = self
            .site
            .router
            .enter(|| Wire::open()?.list(&BTreeMap::new()))?;
        let monitor = Monitor::start(&self.site.router)?;
        self.site.providers[0].set_carrier(false);
        self.wait_until_by(count, 1);
        let events = monitor.finish()?;
        let took = last_move(&before, &events, self.ifindexes[0]);
        took.with_context(|| format!("the monitor saw no move among {} events", events.len()))
    }

    /// What the daemon's threads have been charged.
    fn cpu(&mut self) -> Result<Duration> {
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.daemon.process().id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let first = text.split(' ').next().context("an empty schedstat")?;
            total += first.parse::<u64>().context("schedstat")?;
        }
        Ok(Duration::from_nanos(total))
    }
}

fn foreign_routes(ifindex: u32, table: u32, first: u32, count: u32) -> Vec<HostRoute> {
    let of = |number| HostRoute {
        destination: foreign_prefix(first + number),
        gateway: std::net::Ipv4Addr::new(10, 0, 2, 1),
        ifindex,
        table,
        metric: 20,
        protocol: FOREIGN,
    };
    (0..count).map(of).collect()
}

/// From a cut wire to the last route moved, and with a table of a routing daemon's size beside it. Not in mode `balance`: there the kernel
/// itself takes the member out of the group together with its carrier.
pub(super) fn failovers(options: &Options) -> Result<Vec<Row>> {
    let most = options.prefixes.iter().copied().max().unwrap_or(1);
    let mut cases = vec![(Mode::Metric, 1, 0), (Mode::Metric, 1, options.foreign)];
    cases.extend([Mode::Metric, Mode::Ordered].map(|mode| (mode, most, 0)));
    let mut samples: Vec<Samples> = cases.iter().map(|_| Samples::default()).collect();
    for _ in 0..options.runs {
        for ((mode, count, foreign), samples) in cases.iter().zip(&mut samples) {
            let running = Running::start(*mode, *count, *foreign)?;
            let took = running.cut(*count)?;
            let name = format!(
                "daemon, {}, {foreign} foreign routes: carrier lost to last route",
                mode.name()
            );
            samples.note(&name, took);
        }
    }
    let rows = cases.iter().zip(samples);
    Ok(rows
        .flat_map(|((_, count, _), samples)| samples.rows(*count, None))
        .collect())
}

/// Processor time of the daemon over a while, without and with another program that changes routes.
pub(super) fn churn(options: &Options) -> Result<Vec<Cost>> {
    let main = u32::from(libc::RT_TABLE_MAIN);
    let mut costs = Vec::new();
    for foreign in [0, options.foreign] {
        let mut running = Running::start(Mode::Metric, 1, foreign)?;
        let tables = [
            (None, "at rest"),
            (Some(main), "in main"),
            (Some(OTHER_TABLE), "in another table"),
        ];
        for (table, name) in tables {
            let before = running.cpu()?;
            let begin = Instant::now();
            let changed = churn_for(&running, table, foreign, options.seconds)?;
            let share = (running.cpu()? - before).as_secs_f64() / begin.elapsed().as_secs_f64();
            let rate = f64::from(changed) / begin.elapsed().as_secs_f64();
            costs.push(Cost {
                beside: format!("{foreign} foreign routes, {rate:.0} changes a second {name}"),
                core_percent: share * 100.0,
            });
        }
    }
    Ok(costs)
}

/// Adds and deletes routes at a steady rate, one message at a time, or only waits; tells how many changes that were.
fn churn_for(running: &Running, table: Option<u32>, first: u32, seconds: u32) -> Result<u32> {
    let Some(table) = table else {
        std::thread::sleep(Duration::from_secs(seconds.into()));
        return Ok(0);
    };
    let routes = foreign_routes(running.ifindexes[1], table, first, CHURNED);
    running.site.router.enter(|| {
        let mut wire = Wire::open()?;
        let begin = Instant::now();
        let changes = seconds * CHURN_PER_SECOND / (2 * CHURNED) * (2 * CHURNED);
        for number in 0..changes {
            let verb = if (number / CHURNED).is_multiple_of(2) {
                Verb::Add
            } else {
                Verb::Delete
            };
            let route = routes[(number % CHURNED) as usize];
            wire.write(&datagrams(verb, &[route]))?;
            let due = Duration::from_secs(1) * (number + 1) / CHURN_PER_SECOND;
            std::thread::sleep(due.saturating_sub(begin.elapsed()));
        }
        Ok(changes)
    })
}

/// One look at the kernel, as the daemon takes it.
pub(super) fn looks(options: &Options) -> Result<Vec<Row>> {
    use pingu::{
        netlink::{KernelRoutes, RouteTable},
        units::Protocol,
    };
    let mut rows = Vec::new();
    for foreign in [0, options.foreign] {
        let fixture = super::fixture::Fixture::new()?;
        let main = u32::from(libc::RT_TABLE_MAIN);
        let others = datagrams(
            Verb::Add,
            &foreign_routes(fixture.ifindexes[1], main, 0, foreign),
        );
        let (core, runs) = (options.core, options.runs);
        let times = fixture.router.run(move || -> Result<Vec<Duration>> {
            crate::bench::cpu::pin(core)?;
            Wire::open()?.write(&others)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut routes = KernelRoutes::new(Protocol(super::fixture::OWN))?;
                let mut times = Vec::new();
                for _ in 0..=runs {
                    let begin = Instant::now();
                    let seen = routes.snapshot().await?;
                    times.push(begin.elapsed());
                    ensure!(seen.links.len() == 3, "{:?}", seen.links);
                }
                Ok(times)
            })
        })?;
        let mut samples = Samples::default();
        samples.note(&format!("first look, {foreign} foreign routes"), times[0]);
        for took in &times[1..] {
            samples.note(&format!("a later look, {foreign} foreign routes"), *took);
        }
        rows.extend(samples.rows(0, None));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::{super::wire::is_moving, *};

    #[test]
    fn routes_of_others_are_none_that_move() {
        let routes = foreign_routes(4, 254, 0, 200_000);
        assert!(
            routes
                .iter()
                .all(|route| !is_moving(route.destination.into()))
        );
        assert!(is_moving(super::super::wire::prefix(9_999).into()));
    }
}
