//! What the traffic of an uplink says of it, from the hooks' counters or its interface's: whether it proves life, has fallen silent, and
//! what became of its TCP handshakes. It only looks: nothing is sent and nothing decided here.

mod counted;

pub(crate) use counted::{Counted, Counting};

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    config::{Handshakes, ProbeConfig, ProbeWhen, UplinkConfig},
    engine::handshakes::{self, Count, Unanswered},
    probe::Traffic,
    units::Ifindex,
};

/// Counters are not read more often than this for one uplink, however many of its paths are looked at.
const SAMPLE_MIN: Duration = Duration::from_millis(2);

/// The fastest tick: where probes follow each other so fast that two ticks are longer than a period, traffic saves none.
const TICK_MIN: Duration = Duration::from_millis(10);

/// So many packets must come in before they prove life: one is a stray, or a gateway's word that nothing passes.
const PROOF_PACKETS: u64 = 4;

/// And one for so many that leave: less is errors about them rather than answers. A bulk upload is acknowledged each second segment,
/// of which the kernel may hand over forty-four at once.
const PROOF_EGRESS_MAX: u64 = 64;

/// Traffic in which so many handshakes begin and none is answered proves nothing.
const PROOF_HANDSHAKES: u64 = 3;

/// The longest time for which traffic that was seen counts as going on.
const QUIET_MAX: Duration = Duration::from_secs(5);

/// Samples kept of the time that a burst takes, an eighth of it apart, and those that tell of the last minute.
const FINE_SAMPLES: usize = 32;
const COARSE_SAMPLES: usize = 31;
const COARSE: Duration = Duration::from_secs(2);

/// Rates are means over at least this, where there are samples so old.
const RATE_TIME: Duration = Duration::from_secs(10);

/// One burst for a silence, then none for so many times its length.
const SILENCE_PAUSE: u32 = 10;

/// An interface counts every frame that leaves: one alone may be a question about a neighbour, whose answer is no traffic.
const SILENT_EGRESS_MIN: u64 = 2;

/// The counters at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    pub(crate) traffic: Traffic,
}

/// Where an uplink's counters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// It has no way out.
    None,
    /// Its interface is another uplink's as well: what passes there is nobody's alone.
    Shared,
    /// On this interface.
    Interface(Ifindex),
}

/// What is known of an uplink by its traffic.
#[derive(Debug)]
pub(crate) struct Passive {
    pub(crate) source: Source,
    pub(crate) handshakes: Handshakes,
    /// By whom is counted; none: nobody, or nobody knows yet.
    pub(crate) counting: Option<Counting>,
    /// Something depends on what is counted.
    is_heeded: bool,
    /// Something does between bursts, or bursts themselves do.
    pub(crate) is_awaited: bool,
    tick: Duration,
    silence: Option<Duration>,
    /// For so long traffic counts as going on; none: it saves no bursts.
    quiet: Option<Duration>,
    fine_step: Duration,
    last: Option<Sample>,
    fine: VecDeque<Sample>,
    coarse: VecDeque<Sample>,
    /// From which handshakes are counted that keep the uplink up.
    held: Option<Sample>,
    /// Since when the next proof of life has been gathered.
    mark: Option<Sample>,
    proven: Option<Instant>,
    /// Since when packets have left and none has come in.
    silent_since: Option<Instant>,
    /// How many have left since then.
    silent_egress: u64,
    /// When a silence last caused bursts.
    silence_told: Option<Instant>,
    pub(crate) unanswered: Unanswered,
}

impl Passive {
    pub(crate) fn new(config: &UplinkConfig) -> Self {
        let probe = &config.probe;
        let tick = tick(config);
        let quiet = probe.mode.period().saturating_sub(2 * tick).min(QUIET_MAX);
        let idle = probe.passive.when == ProbeWhen::Idle;
        let flight = probe.mode.sending() + probe.timeout;
        let silence = probe.passive.silence;
        // Where bursts follow each other so fast, one of them finds out before a silence is told.
        let is_sooner = |silence| silence < probe.mode.period() || probe.passive.budget.is_some();
        Self {
            source: Source::None,
            handshakes: config.health.handshakes,
            counting: None,
            is_heeded: idle || silence.is_some(),
            is_awaited: idle || silence.is_some_and(is_sooner),
            tick,
            silence,
            quiet: idle.then_some(quiet),
            fine_step: (flight / 8).max(SAMPLE_MIN),
            last: None,
            fine: VecDeque::new(),
            coarse: VecDeque::new(),
            held: None,
            mark: None,
            proven: None,
            silent_since: None,
            silent_egress: 0,
            silence_told: None,
            unanswered: Unanswered::default(),
        }
    }

    /// Where its counters are from now on. Those of another interface say nothing about the ones before.
    pub(crate) fn set_source(&mut self, source: Source) {
        if self.source != source {
            self.source = source;
            self.counting = None;
            self.start_over();
        }
    }

    /// The interface whose counters are to be read; none while there is nothing to read, or they have just been.
    pub(crate) fn wanted(&self, now: Instant) -> Option<Ifindex> {
        let pause = match self.counting {
            None | Some(Counting::Programs) => SAMPLE_MIN,
            // Each reading is a system call or two.
            Some(Counting::Interface { .. }) if self.is_heeded => self.tick / 2,
            Some(Counting::Interface { .. }) => COARSE,
        };
        let read = self.last.is_some_and(|last| now < last.at + pause);
        match self.source {
            Source::Interface(ifindex) if !read => Some(ifindex),
            Source::Interface(_) | Source::Shared | Source::None => None,
        }
    }

    /// Its counters have been read at least once.
    pub(crate) fn counts(&self) -> bool {
        self.last.is_some()
    }

    /// The loop is to wake for its counters: they cost nothing, or something waits for them.
    pub(crate) fn is_worth_waking(&self) -> bool {
        match self.counting {
            None => false,
            Some(Counting::Programs) => true,
            Some(Counting::Interface { .. }) => self.is_awaited,
        }
    }

    /// Takes what was read.
    pub(crate) fn take(&mut self, counted: Option<Counted>, now: Instant) {
        let counting = counted.map(|counted| counted.by);
        if self.counting != counting {
            self.start_over();
            self.counting = counting;
        }
        let Some(Counted { traffic, .. }) = counted else {
            return;
        };
        let sample = Sample { at: now, traffic };
        match self.last.map(|last| sample.since(&last)) {
            Some(Some(passed)) => self.weigh(&sample, &passed),
            // Hooks that were attached anew count from zero.
            Some(None) => self.start_over(),
            None => {}
        }
        self.last = Some(sample);
        self.mark.get_or_insert(sample);
        keep(&mut self.fine, sample, self.fine_step, FINE_SAMPLES);
        keep(&mut self.coarse, sample, COARSE, COARSE_SAMPLES);
    }

    /// Traffic shows that the uplink works, so that bursts can be left out.
    pub(crate) fn proves_life(&self, now: Instant) -> bool {
        let proof = self.proven.zip(self.quiet);
        proof.is_some_and(|(proven, quiet)| now < proven + quiet)
    }

    /// Since when packets have left without any coming in, once that has lasted for `silence`.
    pub(crate) fn silent_since(&self, now: Instant) -> Option<Instant> {
        let (since, silence) = self.silent_since.zip(self.silence)?;
        (now >= since + silence && self.is_silence()).then_some(since)
    }

    /// Enough has left for an answer to be missed.
    fn is_silence(&self) -> bool {
        self.counting == Some(Counting::Programs) || self.silent_egress >= SILENT_EGRESS_MIN
    }

    /// Whether a silence may cause bursts, which it then does; `pause_min`: not sooner after the last time.
    pub(crate) fn tell_silence(&mut self, pause_min: Duration, now: Instant) -> bool {
        let pause = (self.silence.unwrap_or_default() * SILENCE_PAUSE).max(pause_min);
        let told = self.silence_told.is_some_and(|told| now < told + pause);
        if !told {
            self.silence_told = Some(now);
        }
        !told
    }

    /// When silence will have lasted long enough to be told.
    pub(crate) fn next_look(&self, now: Instant) -> Option<Instant> {
        let (since, silence) = self.silent_since.zip(self.silence)?;
        Some(since + silence).filter(|at| *at > now)
    }

    /// The counters, and what passed in a second, over the last ten seconds or so: ingress and egress, each packets and bytes.
    pub(crate) fn rates(&self) -> Option<(Traffic, Option<Traffic>, Duration)> {
        let last = self.last?;
        let mut olds = self.coarse.iter().rev();
        let old = olds
            .find(|old| last.at >= old.at + RATE_TIME)
            .or(self.coarse.front())?;
        let time = last.at - old.at;
        Some((last.traffic, last.since(old), time))
    }

    /// The handshakes of the last minute.
    pub(crate) fn last_minute(&self) -> Count {
        match (self.coarse.front(), self.last) {
            (Some(first), Some(last)) => Count::between(first, &last),
            (None, _) | (_, None) => Count::default(),
        }
    }

    /// The first sample kept of those from this time on.
    fn first_after<'a>(&'a self, at: Instant) -> Option<&'a Sample> {
        let of = |samples: &'a VecDeque<Sample>| samples.iter().find(|sample| sample.at >= at);
        let held = self.held.as_ref().filter(|held| held.at >= at);
        let kept = of(&self.fine).into_iter().chain(of(&self.coarse));
        let found = kept.chain(held);
        found.min_by_key(|sample| sample.at)
    }

    /// Keeps the first sample from this time on, as long as there is one.
    pub(crate) fn hold(&mut self, since: Option<Instant>) {
        self.held = since.and_then(|since| self.first_after(since)).copied();
    }

    /// Something has come in since `since`, and where handshakes were begun, so may have been an answer.
    pub(crate) fn comes_in_since(&self, since: Instant) -> bool {
        let (Some(first), Some(last)) = (self.first_after(since), self.last) else {
            return false;
        };
        let handshakes = self.last_minute().answered > 0;
        let passed = last.since(first).unwrap_or_default();
        handshakes && passed.ingress_packets > 0
    }

    /// Whether handshakes since `since` succeed although this share of pings is lost, and how many.
    pub(crate) fn succeeds(&self, since: Instant, lost_share: f64, now: Instant) -> Option<Count> {
        let last = self.last?;
        let first_after = |at: Instant| self.first_after(at);
        let until = |at: Instant| {
            let before = |sample: &&Sample| sample.at <= at;
            self.fine.iter().rev().find(before)
        };
        let whole = Count::between(first_after(since)?, &last);
        let patient = now.checked_sub(handshakes::PATIENCE);
        let due = patient
            .filter(|at| *at >= since)
            .and_then(until)
            .and_then(|due| Some(Count::between(first_after(since)?, due).begun));
        let recent = now
            .checked_sub(handshakes::RECENT)
            .and_then(first_after)
            .map(|first| Count::between(first, &last));
        let recent = recent.unwrap_or_default();
        handshakes::succeed(whole, due.unwrap_or(0), recent, lost_share).then_some(whole)
    }

    fn weigh(&mut self, sample: &Sample, passed: &Traffic) {
        let is_over = |since: Instant| {
            let silence = self.silence.unwrap_or_default();
            sample.at > since + silence && !self.is_silence()
        };
        if passed.ingress_packets > 0 || self.silent_since.is_some_and(is_over) {
            self.silent_since = None;
            self.silent_egress = 0;
        }
        if passed.ingress_packets == 0 && passed.egress_packets > 0 {
            self.silent_since.get_or_insert(sample.at);
            self.silent_egress += passed.egress_packets;
        }
        self.unanswered.take(passed, sample.at);
        let gathered = self.mark.and_then(|mark| sample.since(&mark));
        let stale = |mark: Sample| sample.at >= mark.at + self.quiet.unwrap_or(QUIET_MAX);
        // What is for everybody goes on coming in by the segment of a provider that is dead.
        let may_prove = self.counting != Some(Counting::Interface { told_apart: false });
        let is_proof = |gathered: Traffic| may_prove && is_proof(&gathered);
        if passed.ingress_packets > 0 && gathered.is_some_and(is_proof) {
            self.proven = Some(sample.at);
            self.mark = Some(*sample);
        } else if self.mark.is_none_or(stale) {
            self.mark = Some(*sample);
        }
    }

    fn start_over(&mut self) {
        self.last = None;
        self.fine.clear();
        self.coarse.clear();
        self.held = None;
        self.mark = None;
        self.proven = None;
        self.silent_since = None;
        self.silent_egress = 0;
        self.unanswered = Unanswered::default();
    }
}

/// How often an uplink's counters are to be read.
pub(crate) fn tick(config: &UplinkConfig) -> Duration {
    let (slowest, fastest) = (COARSE, TICK_MIN);
    let ProbeConfig { mode, passive, .. } = &config.probe;
    let silence = passive
        .silence
        .map(|silence| (silence / 4).min(Duration::from_secs(1)));
    let idle = (passive.when == ProbeWhen::Idle)
        .then(|| (mode.period() / 8).min(Duration::from_millis(500)));
    let wanted = silence.into_iter().chain(idle).min().unwrap_or(slowest);
    wanted.clamp(fastest, slowest)
}

/// Both directions work: packets come in, not only errors about those that leave, and not with every handshake failing.
fn is_proof(passed: &Traffic) -> bool {
    let failing = passed.handshakes_begun >= PROOF_HANDSHAKES && passed.handshakes_answered == 0;
    passed.ingress_packets >= PROOF_PACKETS
        && passed.egress_packets > 0
        && passed.ingress_packets.saturating_mul(PROOF_EGRESS_MAX) >= passed.egress_packets
        && !failing
}

fn keep(samples: &mut VecDeque<Sample>, sample: Sample, step: Duration, most: usize) {
    if samples
        .back()
        .is_some_and(|back| sample.at < back.at + step)
    {
        return;
    }
    if samples.len() == most {
        samples.pop_front();
    }
    samples.push_back(sample);
}

impl Sample {
    /// What passed since an earlier sample; none if the counters went back.
    pub(crate) fn since(&self, earlier: &Self) -> Option<Traffic> {
        let (new, old) = (&self.traffic, &earlier.traffic);
        Some(Traffic {
            ingress_packets: new.ingress_packets.checked_sub(old.ingress_packets)?,
            ingress_bytes: new.ingress_bytes.checked_sub(old.ingress_bytes)?,
            egress_packets: new.egress_packets.checked_sub(old.egress_packets)?,
            egress_bytes: new.egress_bytes.checked_sub(old.egress_bytes)?,
            handshakes_begun: new.handshakes_begun.checked_sub(old.handshakes_begun)?,
            handshakes_answered: new
                .handshakes_answered
                .checked_sub(old.handshakes_answered)?,
            handshakes_elsewhere: new
                .handshakes_elsewhere
                .checked_sub(old.handshakes_elsewhere)?,
        })
    }
}

#[cfg(test)]
mod tests;
