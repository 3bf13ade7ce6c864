//! What of each path others depend on, summed up by uplinks and by targets, so that a verdict costs the same whatever there is beside it.

use crate::{
    config::Quorum,
    engine::{
        health::{State, Verdict},
        path::Path,
        quorum,
    },
};

/// What of a path its uplink and its target depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    ipv6: bool,
    state: State,
    counted: Option<State>,
    /// It answers.
    pub(crate) answers: bool,
    /// It says something about its target.
    pub(crate) tells: bool,
    /// Its last burst was bad.
    pub(crate) bad: bool,
    /// Its bursts say that it is down.
    down: bool,
    /// Its last burst never left.
    pub(crate) blind: bool,
    /// Nothing answered its last burst.
    pub(crate) silent: bool,
}

impl Mark {
    /// Of a path as it is.
    pub(crate) fn of(path: &Path) -> Self {
        let judged = path.record.judged.as_ref();
        Self {
            ipv6: path.target.is_ipv6(),
            state: path.state(),
            counted: path.counted,
            answers: path.answers(),
            tells: path.tells(),
            bad: path.record.evidence.is_bad(),
            down: path.record.health.state() == State::Down,
            blind: judged.is_some_and(|judged| judged.verdict == Verdict::Blind),
            silent: judged
                .is_some_and(|judged| judged.report.answered == 0 && judged.report.lost > 0),
        }
    }
}

/// How many there are in each state.
#[derive(Clone, Copy, Debug, Default)]
struct States {
    up: u32,
    down: u32,
    unknown: u32,
}

impl States {
    fn place(&mut self, state: State) -> &mut u32 {
        match state {
            State::Up => &mut self.up,
            State::Down => &mut self.down,
            State::Unknown => &mut self.unknown,
        }
    }

    fn all(&self) -> u32 {
        self.up + self.down + self.unknown
    }

    fn and(self, other: Self) -> Self {
        Self {
            up: self.up + other.up,
            down: self.down + other.down,
            unknown: self.unknown + other.unknown,
        }
    }
}

/// The paths of one uplink and family.
#[derive(Clone, Copy, Debug, Default)]
struct Family {
    /// By their states.
    states: States,
    /// By what they count for.
    counted: States,
}

/// The paths of one uplink: IPv4, IPv6.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UplinkCensus([Family; 2]);

impl UplinkCensus {
    /// Counts a path.
    pub(crate) fn add(&mut self, mark: &Mark) {
        let family = &mut self.0[usize::from(mark.ipv6)];
        *family.states.place(mark.state) += 1;
        if let Some(counted) = mark.counted {
            *family.counted.place(counted) += 1;
        }
    }

    /// Takes it back.
    pub(crate) fn remove(&mut self, mark: &Mark) {
        let family = &mut self.0[usize::from(mark.ipv6)];
        *family.states.place(mark.state) -= 1;
        if let Some(counted) = mark.counted {
            *family.counted.place(counted) -= 1;
        }
    }

    /// The uplink's state.
    pub(crate) fn state(&self, quorum: Quorum) -> State {
        let [v4, v6] = self.0;
        judge(quorum, v4.states.and(v6.states), v4.counted.and(v6.counted))
    }

    /// What is known of one family: by its own targets, where there are any.
    pub(crate) fn family_state(&self, quorum: Quorum, ipv6: bool) -> State {
        let Family { states, counted } = self.0[usize::from(ipv6)];
        if states.all() > 0 {
            judge(quorum, states, counted)
        } else {
            self.state(quorum)
        }
    }
}

/// Targets that are left out count where there is nothing else to judge by.
fn judge(quorum: Quorum, states: States, counted: States) -> State {
    let by = if counted.all() > 0 { counted } else { states };
    quorum::judge(
        quorum,
        by.all() as usize,
        by.up as usize,
        by.unknown as usize,
    )
}

/// The paths to one target.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TargetCensus {
    /// Those that answer.
    pub(crate) answering: u32,
    /// Those that say something about it.
    pub(crate) telling: u32,
    /// Those of them whose last burst was bad.
    pub(crate) telling_bad: u32,
    /// Those of them that are down.
    pub(crate) telling_down: u32,
}

impl TargetCensus {
    /// Counts a path.
    pub(crate) fn add(&mut self, mark: &Mark) {
        self.answering += u32::from(mark.answers);
        self.telling += u32::from(mark.tells);
        self.telling_bad += u32::from(mark.tells && mark.bad);
        self.telling_down += u32::from(mark.tells && mark.down);
    }

    /// Takes it back.
    pub(crate) fn remove(&mut self, mark: &Mark) {
        self.answering -= u32::from(mark.answers);
        self.telling -= u32::from(mark.tells);
        self.telling_bad -= u32::from(mark.tells && mark.bad);
        self.telling_down -= u32::from(mark.tells && mark.down);
    }
}
