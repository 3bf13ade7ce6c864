//! What passing traffic does to probing and to states: bursts at once after a silence, bursts left out, handshakes that keep an uplink
//! up or show a portal.

mod sign;
mod status;

pub(crate) use sign::Sign;
pub use status::{Cause, HandshakeStatus, PassiveStatus, TrafficStatus};

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    config::Handshakes,
    engine::{
        Engine, State,
        handshakes::{self, Count, Pings},
        passive::{self, Counted, Source},
        path::Path,
        uplink::Uplink,
        wants::Wants,
    },
    probe::ProbeTransport,
    units::{PathId, UplinkId},
};

/// Where nothing counts, or nothing waits for what does, counters are looked for so often.
const TRY_EVERY: Duration = Duration::from_secs(5);

/// Counters are read so often while handshakes decide about an uplink.
const WAIT_STEP: Duration = Duration::from_millis(50);

/// A wake-up for something else reads counters where they are wanted within this share of the time between two readings: they hardly ever
/// wake the loop then.
const RIDE_SHARE: u32 = 4;

/// When counters are read.
#[derive(Debug)]
pub(crate) struct Watch {
    sample_every: Duration,
    next_sample: Instant,
    /// There is something to be read.
    any: bool,
    /// Uplinks about which handshakes decide.
    waiting: BTreeSet<UplinkId>,
}

impl Watch {
    pub(crate) fn new(config: &crate::config::Config, now: Instant) -> Self {
        let ticks = config.uplinks.iter().map(passive::tick);
        Self {
            sample_every: ticks.min().expect("there is an uplink"),
            next_sample: now,
            any: false,
            waiting: BTreeSet::new(),
        }
    }
}

#[cfg(test)]
mod tests;

impl Uplink {
    /// Reads its counters, where there are any. Whether it did.
    pub(crate) fn sample(&mut self, transport: &mut impl ProbeTransport, now: Instant) -> bool {
        let wanted = self.passive.wanted(now);
        if let Some(ifindex) = wanted {
            let counted = Counted::read(ifindex, self.passive.is_awaited, transport);
            self.passive.take(counted, now);
        }
        wanted.is_some()
    }

    /// What handshakes say against the pings.
    pub(crate) fn read_sign(&mut self, paths: &[Path], now: Instant) -> Sign {
        let since = match self.sign {
            Sign::Kept(_) | Sign::Waits => {
                self.pings_lost_since(paths, now).map(|(since, _)| since)
            }
            Sign::None | Sign::Portal { .. } => None,
        };
        self.passive.hold(since);
        let judged = match self.passive.handshakes {
            Handshakes::Off => return Sign::None,
            Handshakes::Report => false,
            Handshakes::Judge => true,
        };
        match self.state_by_pings() {
            State::Down if self.state_noted == State::Up => {
                self.kept(paths, now).unwrap_or(Sign::None)
            }
            State::Up => match self.failing_since(now) {
                Some((since, begun)) if self.answers_since(since, paths) => {
                    Sign::Portal { begun, judged }
                }
                Some(_) | None => Sign::None,
            },
            State::Down | State::Unknown => Sign::None,
        }
    }

    /// Since when its pings are lost, and what share of them, if nothing else is wrong with it.
    fn pings_lost_since(&self, paths: &[Path], now: Instant) -> Option<(Instant, f64)> {
        let minute_ago = now.checked_sub(handshakes::EVIDENCE_TIME);
        let mut since = None;
        let mut lost_share = 1.0_f64;
        let failing = |path: &&Path| !path.record.is_blocked() && path.state() == State::Down;
        for path in self.own_paths(paths).filter(failing) {
            let (bad, judged) = (path.record.evidence.bad?, path.record.judged?);
            let pings = Pings {
                lost: judged.report.missing().into(),
                answered: judged.report.answered.into(),
            };
            if !path.record.evidence.is_bad() || judged.report.no_neighbour > 0 || pings.lost == 0 {
                return None;
            }
            lost_share = lost_share.min(pings.lost_share());
            // What was under way when the first was lost may still come in.
            let rtt = path.record.window.recent_mean().unwrap_or_default();
            since = since.max(Some(bad.first + 2 * rtt));
        }
        let since = since?;
        let since = minute_ago.map_or(since, |ago| since.max(ago));
        Some((since, lost_share))
    }

    /// Whether handshakes succeed while its pings are lost.
    fn kept(&self, paths: &[Path], now: Instant) -> Option<Sign> {
        let (since, lost_share) = self.pings_lost_since(paths, now)?;
        if let Some(count) = self.passive.succeeds(since, lost_share, now) {
            return Some(Sign::Kept(count));
        }
        let fell = self.fell_by_pings.unwrap_or(now);
        let hopeful = now < fell + handshakes::GRACE && self.passive.comes_in_since(since);
        hopeful.then_some(Sign::Waits)
    }

    /// Since when no handshake has succeeded, and how many have not.
    fn failing_since(&self, now: Instant) -> Option<(Instant, u64)> {
        let minute = self.passive.last_minute();
        self.passive
            .unanswered
            .failing_since(minute, now)
            .filter(|_| !self.answers_stray)
    }

    fn answers_since(&self, since: Instant, paths: &[Path]) -> bool {
        let good_since = |path: &Path| {
            path.record
                .evidence
                .good
                .is_some_and(|good| good.last > since)
        };
        self.own_paths(paths)
            .any(|path| path.answers() && good_since(path))
    }
}

impl Engine {
    /// Finds out where each uplink's counters are.
    pub(super) fn find_counters(&mut self) {
        let ifindex = |uplink: &Uplink| {
            let way = uplink.ways.iter().flatten().next()?;
            Some((way.ifindex, way.layer))
        };
        let mut users = std::collections::BTreeMap::new();
        for (ifindex, _) in self.uplinks.iter().filter_map(ifindex) {
            *users.entry(ifindex).or_insert(0_usize) += 1;
        }
        for uplink in &mut self.uplinks {
            let source = match ifindex(uplink) {
                None => Source::None,
                Some((ifindex, _)) if users[&ifindex] > 1 => Source::Shared,
                Some((ifindex, _)) => Source::Interface(ifindex),
            };
            if let Some((_, layer)) = ifindex(uplink) {
                uplink.spending.header_bytes = layer.header_bytes();
            }
            uplink.passive.set_source(source);
        }
        let is_there = |uplink: &Uplink| matches!(uplink.passive.source, Source::Interface(_));
        self.watch.any = self.uplinks.iter().any(is_there);
    }

    /// Reads all counters, if it is time. Whether it was.
    pub(super) fn observe(&mut self, transport: &mut impl ProbeTransport, now: Instant) -> bool {
        if now + self.watch.sample_every / RIDE_SHARE < self.watch.next_sample {
            return false;
        }
        self.observe_now(transport, now);
        true
    }

    /// The same at a wake-up that has sent something, if it is the last one for that before counters are to be read: they would wake the
    /// loop alone, and again and again where they are read as often as something is sent.
    pub(super) fn observe_beside_sends(
        &mut self,
        transport: &mut impl ProbeTransport,
        now: Instant,
    ) -> bool {
        let next_send = self.timetable.next_send();
        let is_last = next_send.is_none_or(|send| send > self.watch.next_sample);
        let rides = self.watch.any && is_last && !self.outgoing.is_empty();
        if rides {
            self.observe_now(transport, now);
        }
        rides
    }

    fn observe_now(&mut self, transport: &mut impl ProbeTransport, now: Instant) {
        for uplink in &mut self.uplinks {
            uplink.sample(transport, now);
        }
        let mut uplinks = self.uplinks.iter();
        let every = if uplinks.any(|uplink| uplink.passive.is_worth_waking()) {
            self.watch.sample_every
        } else {
            TRY_EVERY
        };
        self.watch.next_sample = now + every;
    }

    /// When counters are to be read next; none while there can be none.
    pub(super) fn next_observation(&self) -> Option<Instant> {
        self.watch.any.then_some(self.watch.next_sample)
    }

    /// Notes whether handshakes are to decide about an uplink.
    pub(super) fn note_waiting(&mut self, id: UplinkId) {
        if self.uplinks[id.index()].sign == Sign::Waits {
            self.watch.waiting.insert(id);
        } else {
            self.watch.waiting.remove(&id);
        }
    }

    /// Looks again soon while handshakes are waited for.
    pub(super) fn observe_soon(&mut self, now: Instant) {
        if !self.watch.waiting.is_empty() {
            let soon = now + WAIT_STEP;
            self.watch.next_sample = self.watch.next_sample.min(soon);
        }
    }

    /// Has paths probed at once that traffic raises doubts about.
    pub(super) fn follow_signs(&mut self, now: Instant) {
        let minutes: Vec<Count> = self
            .uplinks
            .iter()
            .map(|uplink| uplink.passive.last_minute())
            .collect();
        let strays = minutes.iter().any(|minute| minute.is_asymmetric());
        for index in 0..self.uplinks.len() {
            let uplink = &mut self.uplinks[index];
            uplink.answers_stray = strays;
            if let Some(at) = uplink.passive.next_look(now) {
                self.watch.next_sample = self.watch.next_sample.min(at);
            }
            self.resume(UplinkId(index as u16), now);
            self.doubt_silence(UplinkId(index as u16), now);
            self.confirm_portal(UplinkId(index as u16), now);
        }
    }

    /// Bursts were left out for traffic that has ended.
    fn resume(&mut self, id: UplinkId, now: Instant) {
        let uplink = &mut self.uplinks[id.index()];
        if uplink.owes && !uplink.passive.proves_life(now) {
            uplink.owes = false;
            for path in uplink.path_ids() {
                let began = self.paths[path.index()].last_probed();
                self.probe_at_once(path, began.unwrap_or(now), now);
            }
        }
    }

    /// Packets leave, and none has come in for a while.
    fn doubt_silence(&mut self, id: UplinkId, now: Instant) {
        let uplink = &mut self.uplinks[id.index()];
        let Some(since) = uplink.passive.silent_since(now) else {
            return;
        };
        if uplink.state_noted != State::Up {
            return;
        }
        let works =
            |path: &&Path| !path.record.is_blocked() && path.record.health.state() == State::Up;
        let paths = || uplink.own_paths(&self.paths).filter(works);
        let failing = paths().any(Path::misses);
        let untried = paths().any(|path| path.last_probed().is_none_or(|at| at < since));
        if !untried && !failing {
            return;
        }
        let probe = &self.config.uplinks[id.index()].probe;
        let spent = uplink.spending.is_exhausted();
        let pause_min = if spent {
            probe.passive.at_least
        } else {
            Duration::ZERO
        };
        if failing || uplink.passive.tell_silence(pause_min, now) {
            for path in uplink.path_ids() {
                self.probe_at_once(path, since, now);
            }
        }
    }

    /// No handshake succeeds: whether pings do is asked anew.
    fn confirm_portal(&mut self, id: UplinkId, now: Instant) {
        let uplink = &self.uplinks[id.index()];
        if uplink.passive.handshakes == Handshakes::Off || uplink.state_noted != State::Up {
            return;
        }
        if let Some((since, _)) = uplink.failing_since(now)
            && !uplink.answers_since(since, &self.paths)
        {
            for path in uplink.path_ids() {
                self.probe_at_once(path, since, now);
            }
        }
    }

    /// Has a path that is up probed, unless it has been since `began`.
    fn probe_at_once(&mut self, id: PathId, began: Instant, now: Instant) {
        let path = &mut self.paths[id.index()];
        let probe = &self.config.uplinks[path.uplink.index()].probe;
        if path.record.health.state() == State::Up
            && let Some(at) = path.probe_since(began, probe, now)
        {
            self.timetable.note(id, &Wants::to_send(at));
        }
    }

    /// Leaves out a burst that is due, where traffic proves life or the budget asks for it.
    pub(super) fn hold_back(&mut self, id: PathId, now: Instant) {
        let Some(last) = self.paths[id.index()].may_leave_out(now) else {
            return;
        };
        let uplink_id = self.paths[id.index()].uplink;
        let uplink = &mut self.uplinks[uplink_id.index()];
        let probe = &self.config.uplinks[uplink_id.index()].probe;
        let path = &self.paths[id.index()];
        if now + probe.mode.period() > last + probe.passive.at_least {
            return;
        }
        let proven = path.answers() && uplink.passive.proves_life(now);
        let spread = |uplink: &mut Uplink| {
            uplink.count_spending(&self.paths);
            let failing = path.record.health.state() != State::Up;
            let interval = uplink.spending.interval(probe, uplink.round, failing, now);
            // The next one that is due is nearer to it.
            now + probe.mode.period() / 2 < last + interval
        };
        let budgeted = probe.passive.budget.is_some() && !path.is_undecided();
        if proven || (budgeted && spread(uplink)) {
            uplink.owes |= proven;
            self.paths[id.index()].leave_out(probe.mode.period(), now);
        }
    }

    /// What handshakes say, for people who look for trouble, and what asks for signs that are not to be had.
    pub(super) fn sign_warnings(&self) -> impl Iterator<Item = String> + '_ {
        let uplinks = || self.uplinks.iter().zip(&self.config.uplinks);
        let blind = uplinks().flat_map(|(uplink, config)| status::unheeded(uplink, config));
        blind.chain(uplinks().filter_map(|(uplink, config)| match uplink.sign {
            Sign::None | Sign::Waits => None,
            Sign::Kept(_) => Some(format!(
                "{}: pings are lost, but TCP handshakes succeed: it stays up",
                config.name
            )),
            Sign::Portal { .. } => Some(format!(
                "{}: pings are answered, but no TCP handshake is: a captive portal, or a contract that has run out",
                config.name
            )),
        }))
    }
}
