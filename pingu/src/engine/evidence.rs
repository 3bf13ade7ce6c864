//! What the judged bursts of a path showed, and when.

use std::time::Instant;

use crate::engine::{burst::Report, causes::CauseId, health::Verdict};

/// What a judgement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Basis {
    /// A burst.
    Burst,
    /// The last probes of a path that is probed one by one: the same became of all.
    Row,
    /// Its window.
    Window,
}

/// What was judged last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged {
    pub(crate) basis: Basis,
    pub(crate) verdict: Verdict,
    pub(crate) report: Report,
    /// How many probes were judged together.
    pub(crate) of: u32,
    /// The path was up before: the limits for failing were applied, not those for recovering.
    pub(crate) was_up: bool,
    /// The commonest cause of what was not answered, and of how many.
    pub(crate) cause: Option<(CauseId, u32)>,
    /// When the burst began, or the newest of the probes was sent.
    pub(crate) started: Instant,
}

impl Judged {
    /// It was lost to a next hop without a link-layer address above all.
    pub(crate) fn is_without_neighbour(&self) -> bool {
        self.verdict == Verdict::Bad && self.report.no_neighbour > self.report.lost
    }
}

/// When the bursts of one verdict in a row began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Of the first; of bad ones, when its losses began.
    pub(crate) first: Instant,
    pub(crate) last: Instant,
}

/// The last good and the last bad bursts in a row, since the path could last be probed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) good: Option<Run>,
    pub(crate) bad: Option<Run>,
    /// The last verdict.
    pub(crate) last: Option<Verdict>,
}

impl Evidence {
    /// The last burst was good.
    pub(crate) fn is_good(&self) -> bool {
        self.last == Some(Verdict::Good)
    }

    /// The last burst was bad.
    pub(crate) fn is_bad(&self) -> bool {
        self.last == Some(Verdict::Bad)
    }

    /// Takes a verdict over probes sent from `last` on, and when the failure began that it shows, if it is bad.
    pub(crate) fn note(&mut self, verdict: Verdict, last: Instant, failure_began: Instant) {
        let (run, first) = match verdict {
            Verdict::Good => (&mut self.good, last),
            Verdict::Bad => (&mut self.bad, failure_began),
            Verdict::Blind => {
                self.last = Some(verdict);
                return;
            }
        };
        match run {
            Some(run) if self.last == Some(verdict) => run.last = last,
            Some(_) | None => *run = Some(Run { first, last }),
        }
        self.last = Some(verdict);
    }
}
