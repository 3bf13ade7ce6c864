//! What is published of an uplink's traffic, handshakes and costs.

use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    config::{Handshakes, ProbeWhen, UplinkConfig},
    engine::{
        Engine,
        passive::{Counting, Source},
        signs::Sign,
        status::HookState,
        uplink::Uplink,
    },
    probe::{EngineKind, Traffic, TrafficSource},
    units::UplinkId,
};

/// What traffic says of an uplink, and what probing it costs. The fields stand among those of the uplink.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PassiveStatus {
    /// What is wrong, or would be by its pings alone; null where nothing is.
    #[serde(default)]
    pub cause: Option<Cause>,
    /// What passes on its interface; null where nothing counts there.
    #[serde(default)]
    pub traffic: Option<TrafficStatus>,
    /// Why traffic says nothing of it; null where it does.
    #[serde(default)]
    pub traffic_unknown: Option<String>,
    /// Who counts what passes.
    #[serde(default)]
    pub traffic_source: TrafficSource,
    /// Why it is that, and what it cannot tell.
    #[serde(default)]
    pub traffic_source_reason: String,
    /// TCP handshakes of the last minute; null where nothing counts them.
    #[serde(default)]
    pub handshakes: Option<HandshakeStatus>,
    /// Why nothing is known of handshakes, and so no portal can be found; null where something is.
    #[serde(default)]
    pub handshakes_unknown: Option<String>,
    /// Bytes of probes and their replies, link headers included: in the budget's time, or without a budget since the start.
    #[serde(default)]
    pub spent: u64,
    /// How many may be spent; null without a budget.
    #[serde(default)]
    pub budget: Option<u64>,
    /// When nothing is spent again (RFC 3339, UTC); null without a budget, or while the clock is not set.
    #[serde(default)]
    pub resets_at: Option<String>,
    /// Seconds from burst to burst, where the budget makes them more than the period; else null.
    #[serde(default)]
    pub stretched_to_s: Option<f64>,
}

/// What is found by more than pings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// Pings are answered, but no TCP handshake is: a captive portal, or a contract that has run out.
    Portal,
    /// Pings are lost, but TCP handshakes succeed: the uplink stays up.
    Pings,
}

/// The counters of an uplink's interface since its hooks were attached, or its own since they were first read (TCP handshakes, which these
/// do not have, are 0), and rates over the last ten seconds or so, in a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrafficStatus {
    /// The counters.
    #[serde(flatten)]
    pub total: Traffic,
    /// Packets that come in.
    pub ingress_packets_per_s: f64,
    /// Their bytes.
    pub ingress_bytes_per_s: f64,
    /// Packets that leave.
    pub egress_packets_per_s: f64,
    /// Their bytes.
    pub egress_bytes_per_s: f64,
}

/// TCP handshakes of the last minute.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HandshakeStatus {
    /// SYNs that left, repeated ones included.
    pub begun: u64,
    /// SYN-ACKs that came in.
    pub answered: u64,
    /// Their share, at most 1; null where none was begun.
    pub share: Option<f64>,
}

impl Engine {
    pub(crate) fn passive_status(&self, id: UplinkId, now: Instant) -> PassiveStatus {
        let uplink = &self.uplinks[id.index()];
        let probe = &self.config.uplinks[id.index()].probe;
        let failing = uplink.state_noted != crate::engine::State::Up;
        let interval = uplink.spending.interval(probe, uplink.round, failing, now);
        let minute = uplink.passive.last_minute();
        let share = (minute.begun > 0)
            .then(|| minute.answered.min(minute.begun) as f64 / minute.begun as f64);
        let wanted = self.config.uplinks[id.index()].health.handshakes != Handshakes::Off;
        let counts_handshakes = uplink.passive.counting == Some(Counting::Programs);
        PassiveStatus {
            cause: match uplink.sign {
                Sign::None | Sign::Waits => None,
                Sign::Kept(_) => Some(Cause::Pings),
                Sign::Portal { .. } => Some(Cause::Portal),
            },
            traffic: traffic(uplink),
            traffic_unknown: self.traffic_unknown(id),
            traffic_source: Counting::source(uplink.passive.counting),
            traffic_source_reason: self.source_reason(id),
            handshakes_unknown: self.handshakes_unknown(id),
            handshakes: (counts_handshakes && wanted).then_some(HandshakeStatus {
                begun: minute.begun,
                answered: minute.answered,
                share,
            }),
            spent: uplink.spending.spent_with(uplink.packets(&self.paths)),
            budget: uplink.spending.budget().map(|budget| budget.bytes),
            resets_at: uplink
                .spending
                .resets_s()
                .and_then(|at| Timestamp::from_second(at).ok())
                .map(|at| at.to_string()),
            stretched_to_s: (interval > probe.mode.period()).then_some(interval.as_secs_f64()),
        }
    }

    fn traffic_unknown(&self, id: UplinkId) -> Option<String> {
        let uplink = &self.uplinks[id.index()];
        match uplink.passive.source {
            Source::None => Some("there is no way out by it".to_owned()),
            Source::Shared => Some(format!(
                "it shares {} with another uplink",
                self.config.uplinks[id.index()].interface
            )),
            Source::Interface(_) if uplink.passive.counts() => None,
            Source::Interface(_) => Some("nothing counts on its interface".to_owned()),
        }
    }

    fn source_reason(&self, id: UplinkId) -> String {
        let uplink = &self.uplinks[id.index()];
        let what = match uplink.passive.counting {
            None => return self.traffic_unknown(id).unwrap_or_default(),
            Some(Counting::Programs) => return "hooks count on its interface".to_owned(),
            Some(Counting::Interface { told_apart: true }) => {
                "what comes in is counted where it is for this host"
            }
            Some(Counting::Interface { told_apart: false }) if uplink.passive.is_awaited => {
                "broadcasts are among what comes in, which proves nothing"
            }
            Some(Counting::Interface { told_apart: false }) => {
                "broadcasts are among what comes in, on which no burst depends"
            }
        };
        format!("{}: {what}", why_no_programs(uplink))
    }

    fn handshakes_unknown(&self, id: UplinkId) -> Option<String> {
        let uplink = &self.uplinks[id.index()];
        let config = &self.config.uplinks[id.index()];
        match uplink.passive.counting {
            _ if config.health.handshakes == Handshakes::Off => {
                Some("handshakes = \"off\"".to_owned())
            }
            None => self.traffic_unknown(id),
            Some(Counting::Programs) => None,
            Some(Counting::Interface { .. }) => Some(format!(
                "{}: an interface counts no handshakes",
                why_no_programs(uplink)
            )),
        }
    }
}

fn why_no_programs(uplink: &Uplink) -> &str {
    uplink.engine_reason.as_deref().unwrap_or("no hooks")
}

/// What the configuration asks for that needs signs which are not to be had where sockets serve.
pub(super) fn unheeded(uplink: &Uplink, config: &UplinkConfig) -> Vec<String> {
    if uplink.hook != HookState::Attached(EngineKind::Socket) {
        return Vec::new();
    }
    let (name, why) = (&config.name, why_no_programs(uplink));
    let mut warnings = Vec::new();
    if config.health.handshakes == Handshakes::Judge {
        warnings.push(format!(
            "{name}: `handshakes = \"judge\"` has nothing to judge by, since only hooks see TCP handshakes, and it has none ({why})"
        ));
    }
    let is_blurred = uplink.passive.counting == Some(Counting::Interface { told_apart: false });
    if is_blurred && config.probe.passive.when == ProbeWhen::Idle {
        warnings.push(format!(
            "{name}: `probe_when = \"idle\"` saves nothing, since its interface does not tell traffic from broadcasts, and it has no hooks ({why})"
        ));
    }
    warnings
}

fn traffic(uplink: &Uplink) -> Option<TrafficStatus> {
    let (total, passed, time) = uplink.passive.rates()?;
    let per_s = |count: u64| {
        let seconds = time.as_secs_f64();
        if seconds > 0.0 {
            count as f64 / seconds
        } else {
            0.0
        }
    };
    let passed = passed.unwrap_or_default();
    Some(TrafficStatus {
        total,
        ingress_packets_per_s: per_s(passed.ingress_packets),
        ingress_bytes_per_s: per_s(passed.ingress_bytes),
        egress_packets_per_s: per_s(passed.egress_packets),
        egress_bytes_per_s: per_s(passed.egress_bytes),
    })
}
