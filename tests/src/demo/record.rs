//! What has been seen so far: states, routes, the LAN's packets, and the figures that come of them.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    demo::{
        event::{Event, Summary, What},
        scene::{INTERFACES, RouteChange},
        timeline::{Cell, Column},
    },
    lab::pinger::Ping,
};

/// So many answered packets in a row are called a flow.
const FLOW: usize = 5;

/// What is known of one uplink.
#[derive(Clone, Debug, Default)]
pub(super) struct UplinkView {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) rtt_us: Option<f64>,
    answered: u64,
    lost: u64,
    lost_shown: u64,
}

/// Everything seen.
pub(super) struct Record {
    start: Instant,
    pub(super) uplinks: [UplinkView; 2],
    pub(super) route: Option<usize>,
    pub(super) events: Vec<Event>,
    pub(super) cut: Option<Instant>,
    pub(super) repair: Option<Instant>,
    failover: Option<Instant>,
    failback: Option<Instant>,
    pings: Vec<Ping>,
    pings_shown: usize,
}

impl Record {
    pub(super) fn new(start: Instant) -> Self {
        let uplinks = INTERFACES.map(|interface| UplinkView {
            name: interface.to_owned(),
            ..UplinkView::default()
        });
        Self {
            start,
            uplinks,
            route: None,
            events: Vec::new(),
            cut: None,
            repair: None,
            failover: None,
            failback: None,
            pings: Vec::new(),
            pings_shown: 0,
        }
    }

    /// Seconds since the start.
    pub(super) fn seconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.start).as_secs_f64()
    }

    pub(super) fn note(&mut self, at: Instant, what: What) {
        let at_s = (self.seconds(at) * 1000.0).round() / 1000.0;
        self.events.push(Event { at_s, what });
    }

    /// Takes what pingu published.
    pub(super) fn note_status(&mut self, status: &Value, now: Instant) {
        let uplinks = status["uplinks"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        for (index, interface) in INTERFACES.iter().enumerate() {
            let Some(published) = uplinks
                .iter()
                .find(|uplink| uplink["interface"] == *interface)
            else {
                continue;
            };
            let text = |key: &str| published[key].as_str().unwrap_or_default().to_owned();
            let view = &mut self.uplinks[index];
            view.name = text("name");
            view.take_figures(&published["targets"]);
            let state = text("state");
            if view.state != state {
                view.state.clone_from(&state);
                let name = view.name.clone();
                self.note(
                    now,
                    What::Uplink {
                        name,
                        state,
                        reason: text("reason"),
                    },
                );
            }
        }
    }

    /// Takes changes of the kernel's route.
    pub(super) fn note_routes(&mut self, changes: &[RouteChange]) {
        for change in changes {
            self.route = change.uplink;
            let after =
                |instant: Option<Instant>| instant.is_some_and(|instant| change.at >= instant);
            if change.uplink == Some(1) && after(self.cut) {
                self.failover.get_or_insert(change.at);
            }
            if change.uplink == Some(0) && after(self.repair) {
                self.failback.get_or_insert(change.at);
            }
            let uplink = change.uplink.map(|index| self.uplinks[index].name.clone());
            self.note(change.at, What::Route { uplink });
        }
    }

    /// Takes packets of the LAN.
    pub(super) fn note_pings(&mut self, pings: Vec<Ping>) {
        self.pings.extend(pings);
    }

    /// Whether the LAN's latest packets, all sent since then, were answered.
    pub(super) fn lan_flows(&self, since: Instant) -> bool {
        self.pings.len() >= FLOW
            && self.pings[self.pings.len() - FLOW..]
                .iter()
                .all(|ping| ping.rtt.is_some() && ping.sent >= since)
    }

    /// How many of the LAN's packets were lost so far.
    pub(super) fn lan_lost(&self) -> usize {
        self.pings.iter().filter(|ping| ping.rtt.is_none()).count()
    }

    /// One more column of the timeline: what happened since the last one.
    pub(super) fn column(&mut self) -> Column {
        let lanes = self.uplinks.each_mut().map(UplinkView::cell);
        let fresh = &self.pings[self.pings_shown..];
        let lan_lost = fresh.iter().filter(|ping| ping.rtt.is_none()).count();
        let lan_seen = !fresh.is_empty();
        self.pings_shown = self.pings.len();
        Column {
            lanes,
            route: self.route,
            lan_lost,
            lan_seen,
        }
    }

    /// The figures.
    pub(super) fn summary(&self, failure: Option<String>, now: Instant) -> Summary {
        let between = |from: Option<Instant>, to: Option<Instant>| Some(to? - from?);
        let ms = |time: Duration| (time.as_secs_f64() * 1e5).round() / 100.0;
        let lost = |from: Option<Instant>, to: Option<Instant>| {
            let in_span = |ping: &&Ping| {
                from.is_none_or(|from| ping.sent >= from) && to.is_none_or(|to| ping.sent < to)
            };
            self.pings
                .iter()
                .filter(in_span)
                .filter(|ping| ping.rtt.is_none())
                .count() as u64
        };
        let since = |from: Option<Instant>, to: Option<Instant>| {
            from.map_or(0, |from| lost(Some(from), to))
        };
        Summary {
            event: "summary",
            ok: failure.is_none(),
            failure,
            failover_ms: between(self.cut, self.failover).map(ms),
            failback_ms: between(self.repair, self.failback).map(ms),
            lan_sent: self.pings.len() as u64,
            lan_lost_before: lost(None, self.cut),
            lan_lost_failover: since(self.cut, self.repair),
            lan_lost_failback: since(self.repair, None),
            duration_s: (self.seconds(now) * 10.0).round() / 10.0,
        }
    }
}

impl UplinkView {
    fn take_figures(&mut self, targets: &Value) {
        let targets = targets.as_array().map(Vec::as_slice).unwrap_or_default();
        let sum = |key: &str| {
            targets
                .iter()
                .filter_map(|target| target[key].as_u64())
                .sum()
        };
        let answered = sum("answered");
        if answered != self.answered {
            self.rtt_us = targets
                .iter()
                .find_map(|target| target["rtt_us"]["p50"].as_f64());
        }
        self.answered = answered;
        self.lost = sum("lost") + sum("late");
    }

    /// The state as it is known; a loss counted since the last column shows in this one.
    fn cell(&mut self) -> Cell {
        let lost = self.lost - self.lost_shown.min(self.lost);
        self.lost_shown = self.lost;
        match (self.state.as_str(), self.rtt_us) {
            (_, _) if lost > 0 => Cell::Lost,
            ("down", _) => Cell::Lost,
            ("up", Some(rtt_us)) => Cell::Rtt { us: rtt_us },
            _ => Cell::Unknown,
        }
    }
}
