//! A router with two ways to the same targets, and a prober on it.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use pingu::script::{
    probe::{Origin, Outcome, Pace, PathKey},
    prober::Prober,
};
use pingu_tests::bench::namespace::Namespace;

/// More than anything here takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// In both providers' networks, beyond their gateways.
pub const TARGET: &str = "198.51.100.1";
pub const TARGET_V6: &str = "2001:db8:100::1";

/// A router with `eth0` and `eth1`, and what is at their other ends. The default leads over `eth0`.
pub struct Site {
    pub router: Namespace,
    pub providers: [Namespace; 2],
}

impl Site {
    pub fn new() -> Self {
        let router = Namespace::new().unwrap();
        // Who opens echo sockets: everybody.
        router
            .sysctl("net.ipv4.ping_group_range", "0 2147483647")
            .unwrap();
        let providers = [Namespace::new().unwrap(), Namespace::new().unwrap()];
        let site = Self { router, providers };
        for number in 0..2 {
            site.connect(number);
            let provider = &site.providers[number];
            provider
                .ip(&format!("address add {TARGET}/32 dev lo"))
                .unwrap();
            provider
                .ip(&format!("address add {TARGET_V6}/128 dev lo nodad"))
                .unwrap();
        }
        site.router
            .ip("route add default via 192.0.0.1 dev eth0")
            .unwrap();
        site.router
            .ip("route add default via 2001:db8::1 dev eth0")
            .unwrap();
        site
    }

    /// Makes the link of one provider and gives it addresses.
    pub fn connect(&self, number: usize) {
        let (router, provider) = (&self.router, &self.providers[number]);
        let device = format!("eth{number}");
        router.veth(&device, provider, "wan").unwrap();
        for (namespace, device, host) in [(router, device.as_str(), 2), (provider, "wan", 1)] {
            namespace
                .ip(&format!(
                    "address add 192.0.{number}.{host}/24 dev {device}"
                ))
                .unwrap();
            namespace
                .ip(&format!(
                    "address add 2001:db8:{number}::{host}/64 dev {device} nodad"
                ))
                .unwrap();
        }
        // Answers go back by the way of their questions, whatever address these came from.
        provider.ip("route replace default dev wan").unwrap();
        provider
            .ip(&format!(
                "route replace default via 2001:db8:{number}::2 dev wan"
            ))
            .unwrap();
    }

    /// Counts echo requests that reach a provider, and drops those that `drops` matches (an nft expression), if it is given.
    pub fn count_requests(&self, number: usize, drops: Option<&str>) {
        let provider = &self.providers[number];
        let mut rules = vec![
            "add table inet t".to_owned(),
            "add chain inet t c { type filter hook prerouting priority -300; }".to_owned(),
            "add counter inet t requests".to_owned(),
            "add counter inet t dropped".to_owned(),
            "add rule inet t c icmp type echo-request counter name requests".to_owned(),
            "add rule inet t c icmpv6 type echo-request counter name requests".to_owned(),
        ];
        if let Some(drops) = drops {
            rules.push(format!(
                "add rule inet t c icmp type echo-request {drops} counter name dropped drop"
            ));
        }
        for rule in rules {
            provider.command(&format!("nft {rule}")).unwrap();
        }
    }

    /// How many echo requests reached a provider, and how many of them were dropped there.
    pub fn counted(&self, number: usize) -> (u64, u64) {
        let packets = |name: &str| {
            let text = self.providers[number]
                .command(&format!("nft list counter inet t {name}"))
                .unwrap();
            let mut words = text
                .split_whitespace()
                .skip_while(|word| *word != "packets");
            words.nth(1).unwrap().parse().unwrap()
        };
        (packets("requests"), packets("dropped"))
    }
}

pub fn pace(privileged: bool, interval_ms: u64, timeout_ms: u64) -> Pace {
    Pace {
        privileged,
        interval: Duration::from_millis(interval_ms),
        timeout: Duration::from_millis(timeout_ms),
    }
}

pub fn path(destination: &str, origin: Origin) -> PathKey {
    PathKey {
        destination: destination.parse().unwrap(),
        origin,
    }
}

pub fn by(interface: &str) -> Origin {
    Origin::Interface(interface.to_owned())
}

pub fn from(source: &str) -> Origin {
    Origin::Source(address(source))
}

pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A prober that lives in the calling thread, with a runtime of its own.
pub struct Driver {
    pub prober: Prober,
    runtime: tokio::runtime::Runtime,
}

impl Driver {
    pub fn new(pace: Pace, paths: &[PathKey]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut prober = Prober::new(pace).unwrap();
        for path in paths {
            prober.start(path.clone(), Instant::now());
        }
        Self { prober, runtime }
    }

    /// The next outcome; fails after the deadline.
    pub fn next(&mut self) -> Outcome {
        self.runtime
            .block_on(async { tokio::time::timeout(DEADLINE, self.prober.next()).await })
            .expect("something becomes of every probe")
    }

    /// Outcomes that come within this time.
    pub fn during(&mut self, time: Duration) -> Vec<Outcome> {
        let end = tokio::time::Instant::now() + time;
        let mut outcomes = Vec::new();
        self.runtime.block_on(async {
            // What is always ready would never be timed out.
            while tokio::time::Instant::now() < end
                && let Ok(outcome) = tokio::time::timeout_at(end, self.prober.next()).await
            {
                outcomes.push(outcome);
            }
        });
        outcomes
    }

    /// So many outcomes.
    pub fn take(&mut self, count: usize) -> Vec<Outcome> {
        (0..count).map(|_| self.next()).collect()
    }

    /// Outcomes until one is as wanted, that one included.
    pub fn until(&mut self, wanted: impl Fn(&Outcome) -> bool) -> Vec<Outcome> {
        let end = Instant::now() + DEADLINE;
        let mut outcomes = Vec::new();
        loop {
            let outcome = self.next();
            let found = wanted(&outcome);
            outcomes.push(outcome);
            if found {
                return outcomes;
            }
            assert!(Instant::now() < end, "never as wanted: {outcomes:?}");
        }
    }
}

/// Runs a prober in the router's namespace.
pub fn drive<R: Send + 'static>(
    site: &Site,
    pace: Pace,
    paths: Vec<PathKey>,
    script: impl FnOnce(&mut Driver) -> R + Send + 'static,
) -> R {
    site.router
        .run(move || script(&mut Driver::new(pace, &paths)))
}

/// Moves the calling thread into a namespace.
pub fn enter(namespace: &std::fs::File) {
    use std::os::fd::AsRawFd;
    // SAFETY: a plain system call; the descriptor is open.
    let entered = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(entered, 0, "{}", std::io::Error::last_os_error());
}
