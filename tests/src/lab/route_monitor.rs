//! `ip monitor route`: the kernel's own account of what happened to the default routes of a namespace.

use std::time::Duration;

use crate::lab::{namespace::Namespace, process::Process, routes, wait::wait_until};

/// The monitor starts in milliseconds.
const START_DEADLINE: Duration = Duration::from_secs(5);

/// Destinations that nobody uses (RFC 5737): seen in the log, they say that everything before them is there as well.
const START_MARK: &str = "203.0.113.1";
const END_MARK: &str = "203.0.113.2";

/// A running monitor.
pub struct RouteMonitor<'a> {
    namespace: &'a Namespace,
    process: Process,
    defaults_at_start: Vec<String>,
}

impl<'a> RouteMonitor<'a> {
    /// Starts it, and returns once it listens.
    #[track_caller]
    pub fn start(namespace: &'a Namespace) -> Self {
        let mut command = namespace.command("ip");
        command.args(["-4", "-o", "monitor", "route"]);
        let process = Process::spawn("ip monitor", command);
        let mut monitor = Self {
            namespace,
            process,
            defaults_at_start: Vec::new(),
        };
        monitor.mark(START_MARK);
        monitor.defaults_at_start = routes::defaults(namespace);
        monitor
    }

    /// Every line about a default route since the start, in order.
    #[track_caller]
    pub fn events(&self) -> Vec<String> {
        self.mark(END_MARK);
        let log = self.process.log();
        let is_default =
            |line: &&str| line.starts_with("default") || line.starts_with("Deleted default");
        log.lines()
            .map(str::trim)
            .filter(is_default)
            .map(str::to_owned)
            .collect()
    }

    /// The smallest number of default routes that stood between two events. Whether a route of a metric that is in use was
    /// put beside the other or in its place is not told: the latter is assumed, so that no gap is overlooked.
    #[track_caller]
    pub fn fewest_defaults(&self) -> usize {
        let mut standing = self.defaults_at_start.clone();
        let mut fewest = standing.len();
        for event in self.events() {
            match event.strip_prefix("Deleted ") {
                Some(gone) => standing.retain(|route| identity(route) != identity(gone)),
                None => {
                    standing.retain(|route| metric(route) != metric(&event));
                    standing.push(event);
                }
            }
            fewest = fewest.min(standing.len());
        }
        fewest
    }

    /// Makes an event of our own, and waits until the monitor tells of it.
    #[track_caller]
    fn mark(&self, destination: &str) {
        wait_until("ip monitor to listen", START_DEADLINE, || {
            self.namespace
                .ip(&format!("route add blackhole {destination}"));
            self.namespace
                .ip(&format!("route del blackhole {destination}"));
            let log = self.process.log();
            if log.contains(destination) {
                Ok(())
            } else {
                Err(log)
            }
        });
    }
}

/// What makes two lines the same route: the flags at their ends (`linkdown`) come and go.
fn identity(line: &str) -> Vec<&str> {
    line.split_whitespace()
        .filter(|word| !matches!(*word, "linkdown" | "dead" | "onlink" | "pervasive"))
        .collect()
}

fn metric(line: &str) -> Option<&str> {
    line.split_whitespace()
        .skip_while(|word| *word != "metric")
        .nth(1)
}
