//! Who moves the route in a site with two providers: pingu, or a routing daemon with BFD (RFC 5880).

use std::time::Duration;

use anyhow::Result;

use crate::lab::{bird::Bird, daemon::Daemon, frr::Frr, settings::Settings, site::Site};

/// A detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// pingu, whose peer only answers echo requests, never probing faster than its interval.
    Pingu,
    /// pingu that probes each millisecond from the first overdue answer on.
    Suspecting,
    /// BIRD with BFD on either side.
    Bird,
    /// FRR's bfdd and bgpd; the other side is BIRD.
    Frr,
}

impl Who {
    /// As it is called in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pingu => "pingu",
            Self::Suspecting => "pingu, suspecting",
            Self::Bird => "BIRD, BFD",
            Self::Frr => "FRR, BFD",
        }
    }

    /// How fast it probes once an answer is overdue, in milliseconds.
    pub(super) fn suspect_interval_ms(self, interval_ms: u64) -> u64 {
        match self {
            Self::Suspecting => 1,
            Self::Pingu | Self::Bird | Self::Frr => interval_ms,
        }
    }

    /// Whether it is pingu.
    pub fn is_own(self) -> bool {
        matches!(self, Self::Pingu | Self::Suspecting)
    }

    /// How long after the route is back all timers run as they should. BFD falls back to slow ones while a session is down and
    /// agrees on fast ones after it is up.
    pub(super) fn settle(self, interval: Duration) -> Duration {
        match self {
            Self::Pingu | Self::Suspecting => Duration::from_millis(50) + interval * 4,
            Self::Bird | Self::Frr => Duration::from_millis(500) + interval * 10,
        }
    }
}

/// How pingu probes.
#[derive(Clone, Debug)]
pub(super) struct Probing {
    pub(super) interval: Duration,
    /// Lines of `[probe]` and `[health]`.
    pub(super) lines: [String; 2],
}

/// Running programs of one of them.
pub(super) struct Running {
    pub(super) pingu: Option<Daemon>,
    _settings: Option<Settings>,
    _frr: Option<Frr>,
    _birds: Vec<Bird>,
}

/// Starts it in a site without any default; the first uplink is the wanted one.
pub(super) fn start(who: Who, site: &Site, probing: &Probing) -> Result<Running> {
    let interval_ms = probing.interval.as_millis().max(1);
    let nothing = Running {
        pingu: None,
        _settings: None,
        _frr: None,
        _birds: Vec::new(),
    };
    let [probe, health] = &probing.lines;
    Ok(match who {
        Who::Pingu | Who::Suspecting => {
            let settings = Settings::new()
                .probe("targets = [\"8.8.8.8\"]")
                .probe(probe)
                .health(health)
                .uplink("wan1", "wan1", "10.0.1.1", 10)
                .uplink("wan2", "wan2", "10.0.2.1", 11);
            let mut daemon = Daemon::start(&site.router, &settings);
            daemon.wait_until_up(&["wan1", "wan2"]);
            Running {
                pingu: Some(daemon),
                _settings: Some(settings),
                ..nothing
            }
        }
        Who::Bird => Running {
            _birds: vec![
                Bird::start(
                    &site.providers[0].namespace,
                    &provider_bird(interval_ms, ""),
                ),
                Bird::start(&site.router, &router_bird(interval_ms)),
            ],
            ..nothing
        },
        Who::Frr => {
            let bgp = "protocol static defaults { ipv4; route 0.0.0.0/0 unreachable; }\n\
                 protocol bgp customer { local 10.0.1.1 as 65001; neighbor 10.0.1.2 as 65000; bfd on; connect retry time 1;\n\
                 connect delay time 1; error wait time 1, 1; ipv4 { import none; export all; next hop self; }; }\n";
            Running {
                _birds: vec![Bird::start(
                    &site.providers[0].namespace,
                    &provider_bird(interval_ms, bgp),
                )],
                _frr: Some(Frr::start(
                    &site.router,
                    &[
                        ("bfdd", &bfdd(interval_ms)),
                        ("staticd", "ip route 0.0.0.0/0 10.0.2.1 250\n"),
                        ("bgpd", BGPD),
                    ],
                )),
                ..nothing
            }
        }
    })
}

fn bfd(interface: &str, interval_ms: u128) -> String {
    format!(
        "interface \"{interface}\" {{ min rx interval {interval_ms} ms; min tx interval {interval_ms} ms; \
         idle tx interval 100 ms; multiplier 3; }};"
    )
}

fn provider_bird(interval_ms: u128, more: &str) -> String {
    let interface = bfd("r0", interval_ms);
    let neighbour = if more.is_empty() {
        "neighbor 10.0.1.2 dev \"r0\" local 10.0.1.1;"
    } else {
        ""
    };
    format!(
        "router id 10.0.1.1;\nprotocol device {{ scan time 10; }}\nprotocol bfd {{ {interface} {neighbour} }}\n{more}"
    )
}

fn router_bird(interval_ms: u128) -> String {
    let interface = bfd("wan1", interval_ms);
    format!(
        "router id 10.0.1.2;\nprotocol device {{ scan time 10; }}\n\
         protocol kernel {{ ipv4 {{ import none; export all; }}; scan time 60; }}\n\
         protocol bfd {{ {interface} }}\n\
         protocol static wanted {{ ipv4 {{ preference 200; }}; route 0.0.0.0/0 via 10.0.1.1 bfd; }}\n\
         protocol static spare {{ ipv4 {{ preference 100; }}; route 0.0.0.0/0 via 10.0.2.1; }}\n"
    )
}

fn bfdd(interval_ms: u128) -> String {
    format!(
        "bfd\n profile fast\n  detect-multiplier 3\n  receive-interval {interval_ms}\n  transmit-interval {interval_ms}\n \
         exit\n peer 10.0.1.1 interface wan1\n  profile fast\n exit\nexit\n"
    )
}

const BGPD: &str = "router bgp 65000\n bgp router-id 10.0.1.2\n no bgp ebgp-requires-policy\n timers bgp 3 9\n \
     neighbor 10.0.1.1 remote-as 65001\n neighbor 10.0.1.1 timers connect 1\n neighbor 10.0.1.1 advertisement-interval 0\n \
     neighbor 10.0.1.1 bfd\n neighbor 10.0.1.1 bfd profile fast\nexit\n";
