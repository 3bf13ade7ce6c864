//! What a reflector tells its operator: how many requests arrived, from whom, and how long ago the last one came.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write,
    net::IpAddr,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::service::Services;
use crate::probe::kernel::reflector::{CountedPath, ReflectHook, ReflectorCounters};

/// More paths than this are not listed; the busiest are.
const PATHS_LISTED_MAX: usize = 1000;

/// Requests beyond the limit are told of in the log at most so often: whoever forges them may go on.
const LIMIT_TOLD_EVERY: Duration = Duration::from_secs(60);

/// What was told the last time.
pub(super) struct Statistics {
    limit: u32,
    told: HashMap<(IpAddr, IpAddr, u32), u64>,
    /// How many requests beyond the limit the log knows, and since when.
    limited_told: (u64, Option<Instant>),
}

#[derive(Serialize)]
struct Report {
    interfaces: Vec<Interface>,
    /// Names that no interface has yet, or any more.
    absent: BTreeSet<String>,
    /// Why interfaces that are there are not served, or not with all their addresses.
    failures: Vec<String>,
    /// 0: there is none.
    limit_per_second: u32,
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
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            told: HashMap::new(),
            limited_told: (0, None),
        }
    }

    /// Says in the log that requests came beyond the limit.
    pub(super) fn watch_limit(&mut self, services: &Services, now: Instant) {
        // A count that cannot be read is told of by the report.
        let counters = services.reflector().counters().unwrap_or_default();
        if let Some(limited) = self.newly_limited(counters.limited, now) {
            let limit = self.limit;
            tracing::warn!(
                limited,
                limit,
                "more requests came than --limit, left to the kernel"
            );
        }
    }

    fn newly_limited(&mut self, limited: u64, now: Instant) -> Option<u64> {
        let (told, told_at) = self.limited_told;
        let more = limited.checked_sub(told).filter(|more| *more > 0)?;
        if told_at.is_some_and(|at| now < at + LIMIT_TOLD_EVERY) {
            return None;
        }
        self.limited_told = (limited, Some(now));
        Some(more)
    }

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
            limit_per_second: self.limit,
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
        limited,
        dropped,
    } = report.counters;
    writeln!(
        out,
        "{reflected} reflected, {refused} refused, {corrupt} corrupt, {limited} beyond the limit, {dropped} dropped"
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
        let mut statistics = Statistics::new(0);
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
    fn requests_beyond_the_limit_are_told_of_once_a_minute_while_they_come() {
        let begin = tokio::time::Instant::now().into_std();
        let mut statistics = Statistics::new(5);
        let told = [
            (0, 0),
            (1, 7),
            (2, 9),
            (61, 9),
            (62, 20),
            (121, 30),
            (122, 30),
            (500, 30),
        ]
        .map(|(at_s, limited)| {
            statistics.newly_limited(limited, begin + Duration::from_secs(at_s))
        });
        let expected = [None, Some(7), None, Some(2), None, Some(21), None, None];
        assert_eq!(told, expected);
    }

    #[test]
    fn of_very_many_paths_the_busiest_are_listed() {
        let many = (0..PATHS_LISTED_MAX as u32 + 5).map(|path| counted(path, u64::from(path)));
        let paths = Statistics::new(0).paths(many.collect(), 0);
        assert_eq!(paths.len(), PATHS_LISTED_MAX);
        assert!(paths.iter().all(|path| path.requests >= 5));
    }
}
