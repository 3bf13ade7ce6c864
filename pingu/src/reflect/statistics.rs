//! What a reflector tells its operator: how many requests arrived, from whom, and how long ago the last one came.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write,
    net::IpAddr,
};

use serde::Serialize;

use super::service::Services;
use crate::probe::kernel::reflector::{CountedPath, ReflectHook, ReflectorCounters};

/// More paths than this are not listed; the busiest are.
const PATHS_LISTED_MAX: usize = 1000;

/// What was told the last time.
#[derive(Default)]
pub(super) struct Statistics {
    told: HashMap<(IpAddr, IpAddr, u32), u64>,
}

#[derive(Serialize)]
struct Report {
    interfaces: Vec<Interface>,
    /// Names that no interface has yet, or any more.
    absent: BTreeSet<String>,
    /// Why interfaces that are there are not served, or not with all their addresses.
    failures: Vec<String>,
    #[serde(flatten)]
    counters: ReflectorCounters,
    /// How many paths were counted; the list may be shorter.
    path_count: usize,
    paths: Vec<Path>,
}

#[derive(Serialize)]
struct Interface {
    interface: String,
    hook: ReflectHook,
    addresses: Vec<IpAddr>,
}

#[derive(Serialize)]
struct Path {
    source: IpAddr,
    target: IpAddr,
    /// The prober's number for it.
    path: u32,
    requests: u64,
    /// Those since the last report.
    recent_requests: u64,
    last_request_s: f64,
}

impl Statistics {
    /// A report, as JSON on one line or as a table.
    pub(super) fn render(&mut self, services: &Services, json: bool) -> anyhow::Result<String> {
        let counted = services.reflector().paths();
        let (absent, failures) = services.unserved();
        let report = Report {
            interfaces: services
                .running()
                .map(|service| Interface {
                    interface: service.wanted.interface.clone(),
                    hook: service.hook(),
                    addresses: service.wanted.addresses.iter().copied().collect(),
                })
                .collect(),
            absent: absent.clone(),
            failures: failures.map(str::to_owned).collect(),
            counters: services.reflector().counters()?,
            path_count: counted.len(),
            paths: self.paths(counted, monotonic_ns()),
        };
        Ok(if json {
            format!("{}\n", serde_json::to_string(&report)?)
        } else {
            table(&report)
        })
    }

    fn paths(&mut self, mut counted: Vec<CountedPath>, now_ns: u64) -> Vec<Path> {
        counted.sort_by_key(|path| (path.source, path.target, path.path));
        let key = |path: &CountedPath| (path.source, path.target, path.path);
        let mut paths: Vec<Path> = counted
            .iter()
            .map(|path| {
                let told = self.told.get(&key(path)).copied().unwrap_or(0);
                // A path that was evicted meanwhile counts from the beginning.
                let recent = path.requests.checked_sub(told).unwrap_or(path.requests);
                Path {
                    source: path.source,
                    target: path.target,
                    path: path.path,
                    requests: path.requests,
                    recent_requests: recent,
                    last_request_s: now_ns.saturating_sub(path.last_ns) as f64 / 1e9,
                }
            })
            .collect();
        self.told = counted
            .iter()
            .map(|path| (key(path), path.requests))
            .collect();
        if paths.len() > PATHS_LISTED_MAX {
            paths.sort_by_key(|path| std::cmp::Reverse(path.recent_requests));
            paths.truncate(PATHS_LISTED_MAX);
        }
        paths
    }
}

fn table(report: &Report) -> String {
    const INFALLIBLE: &str = "a string takes everything";
    let mut out = String::new();
    for interface in &report.interfaces {
        let hook = interface.hook.as_str();
        let addresses: Vec<String> = interface.addresses.iter().map(IpAddr::to_string).collect();
        let name = &interface.interface;
        writeln!(out, "{name} by {hook}: {}", addresses.join(", ")).expect(INFALLIBLE);
    }
    for name in &report.absent {
        writeln!(out, "{name}: is not there").expect(INFALLIBLE);
    }
    for failure in &report.failures {
        writeln!(out, "{failure}").expect(INFALLIBLE);
    }
    let ReflectorCounters {
        reflected,
        refused,
        corrupt,
        dropped,
    } = report.counters;
    writeln!(
        out,
        "{reflected} reflected, {refused} refused, {corrupt} corrupt, {dropped} dropped"
    )
    .expect(INFALLIBLE);
    if !report.paths.is_empty() {
        writeln!(
            out,
            "\n{:<39}  {:<39}  {:>8}  {:>12}  {:>12}  {:>10}",
            "SOURCE", "TARGET", "PATH", "REQUESTS", "RECENT", "LAST"
        )
        .expect(INFALLIBLE);
    }
    for path in &report.paths {
        writeln!(
            out,
            "{:<39}  {:<39}  {:08x}  {:>12}  {:>12}  {:>8.1} s",
            path.source.to_string(),
            path.target.to_string(),
            path.path,
            path.requests,
            path.recent_requests,
            path.last_request_s
        )
        .expect(INFALLIBLE);
    }
    let unlisted = report.path_count - report.paths.len();
    if unlisted > 0 {
        writeln!(out, "and {unlisted} more").expect(INFALLIBLE);
    }
    out
}

/// The clock of the programs' stamps, which ignores time namespaces as theirs does not need to: only seconds are told.
fn monotonic_ns() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure lives through the call, which cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(path: u32, requests: u64) -> CountedPath {
        CountedPath {
            source: IpAddr::from([192, 0, 2, 7]),
            target: IpAddr::from([192, 0, 2, 1]),
            path,
            requests,
            last_ns: 1_000_000_000,
        }
    }

    #[test]
    fn each_report_tells_what_came_since_the_last_one() {
        let mut statistics = Statistics::default();
        let recent = |statistics: &mut Statistics, counted| -> Vec<u64> {
            let paths = statistics.paths(counted, 3_500_000_000);
            assert!(paths.iter().all(|path| path.last_request_s == 2.5));
            paths.iter().map(|path| path.recent_requests).collect()
        };
        assert_eq!(
            recent(&mut statistics, vec![counted(2, 10), counted(1, 4)]),
            [4, 10]
        );
        assert_eq!(
            recent(&mut statistics, vec![counted(1, 4), counted(2, 15)]),
            [0, 5]
        );
        assert_eq!(
            recent(&mut statistics, vec![counted(2, 3)]),
            [3],
            "it began anew"
        );
    }

    #[test]
    fn of_very_many_paths_the_busiest_are_listed() {
        let many = (0..PATHS_LISTED_MAX as u32 + 5).map(|path| counted(path, u64::from(path)));
        let paths = Statistics::default().paths(many.collect(), 0);
        assert_eq!(paths.len(), PATHS_LISTED_MAX);
        assert!(paths.iter().all(|path| path.requests >= 5));
    }
}
