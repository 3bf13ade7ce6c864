//! One network in which the daemon is killed again and again.
#![expect(
    clippy::disallowed_methods,
    reason = "the next start must converge within two seconds"
)]

use std::time::{Duration, Instant};

use pingu_tests::lab::{
    daemon::{Daemon, START_DEADLINE},
    namespace::Namespace,
    route_watch::{self, Pace, RouteWatch},
    routes,
    settings::Settings,
    site::{Site, TARGET},
    status,
    stopwatch::Stopwatch,
    tracer::{SENDING, Tracer},
    wait::wait_until,
};

const DEADLINE: Duration = Duration::from_secs(10);

/// The goal for the start after a kill.
const CONVERGED_MAX: Duration = Duration::from_secs(2);

/// A daemon that has reached what it should be and sends nothing for so long has nothing more to send. Its own cycles, the
/// confirmation of neighbours and the audit, are 5 s and longer.
const QUIET: Duration = Duration::from_millis(150);

/// One run may need a look at the kernel more or fewer than the next: a sweep is over when so many runs in a row were not killed.
const UNHARMED_ENOUGH: u32 = 2;

/// More messages than any phase has. A sweep past it never ends by itself.
const MESSAGES_MAX: u32 = 200;

const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How things are when the daemon has nothing more to do.
struct Rest {
    fibre: &'static str,
    own: Vec<String>,
    way: u32,
}

/// The network, and how things are in it at rest.
pub(super) struct Sweep<'a> {
    site: &'a Site,
    settings: &'a Settings,
    /// The default routes without a daemon.
    untouched: Vec<String>,
    healthy: Rest,
    cut: Rest,
}

impl<'a> Sweep<'a> {
    /// Runs once without a kill, and remembers how that came to rest.
    pub(super) fn prepare(site: &'a Site, settings: &'a Settings) -> Self {
        let untouched = routes::defaults(&site.router);
        let mut daemon = Daemon::start(&site.router, settings);
        let tracer = Tracer::attach(&site.router, daemon.process().id(), SENDING, None);
        daemon.wait_until_up(&["fibre", "lte"]);
        let healthy = rest(site, "up", &tracer);
        site.providers[0].black_hole();
        daemon.wait_until_down("fibre");
        let cut = rest(site, "down", &tracer);
        site.providers[0].repair();
        daemon.wait_until_up(&["fibre"]);
        let again = rest(site, "up", &tracer);
        assert_eq!(again.own, healthy.own);
        assert_ne!(cut.own, healthy.own);
        assert_eq!(cut.way, site.ifindex(1));
        tracer.detach();
        assert_eq!(daemon.stop().code(), Some(0));
        assert_eq!(routes::defaults(&site.router), untouched);
        Self {
            site,
            settings,
            untouched,
            healthy,
            cut,
        }
    }

    /// Every kill at one of these calls between the start and the first rest; among them must be some of these texts.
    pub(super) fn starts(&self, calls: &str, hit: &[&str]) {
        let mut killed_at = Vec::new();
        let mut unharmed = 0;
        for k in 1..MESSAGES_MAX {
            let what = format!("killed at {k} of {calls} of a start");
            let mut daemon = Daemon::start_stopped(&self.site.router, self.settings);
            let tracer = Tracer::attach(&self.site.router, daemon.process().id(), calls, Some(k));
            daemon.process().signal(libc::SIGCONT);
            if let Some(call) = self.killed_at(&mut daemon, tracer, &self.healthy) {
                killed_at.push(call);
                drop(daemon);
                self.has_usable_default(!self.untouched.is_empty(), &what);
                daemon = self.restart(&self.healthy, &what);
                unharmed = 0;
            } else {
                unharmed += 1;
            }
            assert_eq!(daemon.stop().code(), Some(0));
            let left = routes::defaults(&self.site.router);
            assert_eq!(left, self.untouched, "everything is as it was, {what}");
            if unharmed == UNHARMED_ENOUGH {
                break;
            }
        }
        assert_eq!(unharmed, UNHARMED_ENOUGH, "no end of {calls}");
        println!("{} kills at {calls} of a start", killed_at.len());
        assert_hit(&killed_at, hit);
    }

    /// Every kill from a cut to the rest after it, and from the repair to the rest after that; among them must be these messages.
    pub(super) fn failovers(&self, hit_after_cut: &str, hit_after_repair: &str) {
        let mut daemon = Daemon::start(&self.site.router, self.settings);
        self.wait_for_rest(&mut daemon, &self.healthy);
        let (mut killed_after_cut, mut killed_after_repair) = (Vec::new(), Vec::new());
        let mut unharmed = 0;
        for k in 1..MESSAGES_MAX {
            let provider = &self.site.providers[0];
            let before = killed_after_cut.len() + killed_after_repair.len();
            daemon = self.kill_once(daemon, k, &self.cut, &mut killed_after_cut, || {
                provider.black_hole();
            });
            daemon = self.kill_once(daemon, k, &self.healthy, &mut killed_after_repair, || {
                provider.repair();
            });
            let after = killed_after_cut.len() + killed_after_repair.len();
            unharmed = if after == before { unharmed + 1 } else { 0 };
            if unharmed == UNHARMED_ENOUGH {
                break;
            }
        }
        assert_eq!(unharmed, UNHARMED_ENOUGH, "no end of failovers");
        let (cut, repair) = (killed_after_cut.len(), killed_after_repair.len());
        println!("{cut} kills in failovers, {repair} in failbacks");
        assert_hit(&killed_after_cut, &[hit_after_cut]);
        assert_hit(&killed_after_repair, &[hit_after_repair]);
    }

    /// Changes the world, and has the daemon killed at its K-th message from then on; notes that message, and gives the daemon that
    /// runs afterwards.
    fn kill_once(
        &self,
        mut daemon: Daemon,
        k: u32,
        rest: &Rest,
        killed_at: &mut Vec<String>,
        change: impl Fn(),
    ) -> Daemon {
        let what = format!("killed at {k} on the way to a fibre that is {}", rest.fibre);
        let attach = |id, kill_at| Tracer::attach(&self.site.router, id, SENDING, kill_at);
        // What a start still asks the kernel for would be counted before what follows the change, now more and now less of it.
        let tracer = attach(daemon.process().id(), None);
        wait_until_quiet(&tracer);
        tracer.detach();
        let tracer = attach(daemon.process().id(), Some(k));
        change();
        let Some(call) = self.killed_at(&mut daemon, tracer, rest) else {
            return daemon;
        };
        killed_at.push(call);
        drop(daemon);
        self.has_usable_default(true, &what);
        self.restart(rest, &what)
    }

    /// Waits for the kill, or for a rest without one; gives the call in whose place the daemon was killed, if it was.
    fn killed_at(&self, daemon: &mut Daemon, tracer: Tracer, rest: &Rest) -> Option<String> {
        let mut quiet = Quiet::new();
        let was_killed = wait_until("a kill or a rest", DEADLINE, || {
            if is_killed(daemon) {
                return Ok(true);
            }
            let is_quiet = quiet.holds(&tracer);
            let own = routes::own(&self.site.router);
            if is_quiet && own == rest.own && self.knows(daemon, rest) {
                Ok(false)
            } else {
                Err(format!("{own:?}"))
            }
        });
        if was_killed {
            let call = tracer.finish().pop();
            return Some(call.expect("strace writes the call in whose place it kills"));
        }
        tracer.detach();
        // The K-th message may have been one of the daemon's own cycles, between the rest and the end of the tracer.
        wait_until("an answer or a late kill", DEADLINE, || {
            if is_killed(daemon) {
                return Ok(Some("a message after the rest".to_owned()));
            }
            daemon.status().map(|_| None)
        })
    }

    /// The oracle: the kernel's way to the target leaves by an interface with a carrier and an address.
    fn has_usable_default(&self, existed: bool, what: &str) {
        let way = route_watch::way_to(&self.site.router, TARGET);
        let usable = usable_interfaces(&self.site.router);
        match way {
            Some(ifindex) => assert!(
                usable.contains(&ifindex),
                "{what}: by {ifindex}, but usable are {usable:?}"
            ),
            None => assert!(!existed, "{what}: the default is lost"),
        }
    }

    /// The start after a kill: it converges in time, and traffic moves at most once, and only to where it belongs.
    fn restart(&self, rest: &Rest, what: &str) -> Daemon {
        let watch = RouteWatch::start(&self.site.router, TARGET, Pace::Every(LOOK_EVERY));
        let start = Stopwatch::start();
        let mut daemon = Daemon::start(&self.site.router, self.settings);
        self.wait_for_rest(&mut daemon, rest);
        let time = start.elapsed_of(daemon.process().id());
        // The last change may only just have been made.
        let changes = watch.finish().changes;
        let ways: Vec<Option<u32>> = changes.iter().map(|change| change.ifindex).collect();
        assert!(time <= CONVERGED_MAX, "{what}: {time:?}");
        let expected = if ways.first() == Some(&Some(rest.way)) {
            vec![Some(rest.way)]
        } else {
            vec![ways[0], Some(rest.way)]
        };
        assert_eq!(ways, expected, "{what}: traffic was moved");
        daemon
    }

    fn wait_for_rest(&self, daemon: &mut Daemon, rest: &Rest) {
        wait_until("the own routes at rest", START_DEADLINE, || {
            let own = routes::own(&self.site.router);
            let way = route_watch::way_to(&self.site.router, TARGET);
            if own == rest.own && way == Some(rest.way) && self.knows(daemon, rest) {
                Ok(())
            } else {
                Err(format!("{own:?}; {:?}; {}", way, daemon.process().log()))
            }
        });
    }

    /// Whether the daemon has found out by itself how the uplinks are.
    fn knows(&self, daemon: &Daemon, rest: &Rest) -> bool {
        daemon.status().is_ok_and(|status| {
            status::state(&status, "fibre") == rest.fibre && status::state(&status, "lte") == "up"
        })
    }
}

/// Whether the daemon is no more; it may have ended by no other means.
fn is_killed(daemon: &mut Daemon) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let status = daemon.process().ended();
    if let Some(status) = status {
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
    }
    status.is_some()
}

/// Waits until nothing is sent any more, and gives how things are then.
fn rest(site: &Site, fibre: &'static str, tracer: &Tracer) -> Rest {
    wait_until_quiet(tracer);
    Rest {
        fibre,
        own: routes::own(&site.router),
        way: route_watch::way_to(&site.router, TARGET).expect("a default stands"),
    }
}

fn wait_until_quiet(tracer: &Tracer) {
    let mut quiet = Quiet::new();
    wait_until("a rest", DEADLINE, || {
        if quiet.holds(tracer) {
            Ok(())
        } else {
            Err(tracer.calls().join("\n"))
        }
    });
}

/// Since when nothing was sent.
struct Quiet {
    sent: usize,
    since: Instant,
}

impl Quiet {
    fn new() -> Self {
        Self {
            sent: 0,
            since: Instant::now(),
        }
    }

    fn holds(&mut self, tracer: &Tracer) -> bool {
        let sent = tracer.calls().len();
        if sent != self.sent {
            *self = Self {
                sent,
                since: Instant::now(),
            };
        }
        self.since.elapsed() >= QUIET
    }
}

fn assert_hit(killed_at: &[String], wanted: &[&str]) {
    for text in wanted {
        let is_hit = killed_at.iter().any(|call| call.contains(text));
        assert!(is_hit, "no kill at any {text}: {killed_at:#?}");
    }
}

/// Interfaces that are up, have a carrier and an IPv4 address.
fn usable_interfaces(namespace: &Namespace) -> Vec<u32> {
    let links = namespace.ip("-o link show up");
    let number = |line: &str| {
        line.split(':')
            .next()
            .and_then(|word| word.trim().parse().ok())
    };
    let addresses = namespace.ip("-4 -o address show");
    let addressed: Vec<u32> = addresses.lines().filter_map(number).collect();
    links
        .lines()
        .filter(|line| line.contains("LOWER_UP"))
        .filter_map(number)
        .filter(|ifindex| addressed.contains(ifindex))
        .collect()
}
