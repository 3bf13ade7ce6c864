//! The plot, without a stage: which act is on, what it waits for, and what is to be done next.

use std::time::{Duration, Instant};

/// How long a quiet scene is shown.
const QUIET: Duration = Duration::from_secs(4);

/// Two uplinks come up within a few bursts.
const START_MAX: Duration = Duration::from_secs(20);

/// Several bursts of the real configuration.
const MOVE_MAX: Duration = Duration::from_secs(20);

/// An act of the play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// pingu gets to know its uplinks.
    Starting,
    /// Both work; traffic takes the first choice.
    FirstChoice,
    /// The first one is cut; traffic shall move.
    Cut,
    /// Traffic takes the other.
    SecondChoice,
    /// The first one is repaired; traffic shall move back.
    Repaired,
    /// Traffic takes the first choice again.
    Back,
}

/// What can be seen at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) both_up: bool,
    /// The uplink that the kernel's route leaves by.
    pub(super) route: Option<usize>,
    /// That route is pingu's own.
    pub(super) own: bool,
    /// The LAN's recent packets, sent since the act began, were all answered.
    pub(super) lan_flows: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing yet.
    Wait,
    /// The next act begins.
    Next(Act),
    /// The play is over.
    End,
    /// What was awaited did not come.
    Fail(&'static str),
}

impl Act {
    /// What the audience is told.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Starting => "pingu learns the gateways from DHCP and probes both uplinks",
            Self::FirstChoice => "both uplinks work: traffic takes the first choice",
            Self::Cut => "black hole on the first choice: packets vanish, its carrier stays up",
            Self::SecondChoice => "failed over: traffic takes the second choice",
            Self::Repaired => "the first choice is repaired",
            Self::Back => "failed back: traffic takes the first choice again",
        }
    }

    /// What follows from what is seen, so long after the act began.
    pub(super) fn step(self, view: &View, began: Instant, now: Instant) -> Step {
        let lasted = now.saturating_duration_since(began);
        let by = |uplink: usize| view.route == Some(uplink) && view.own;
        let (done, next, patience, failure) = match self {
            Self::Starting => (
                view.both_up && by(0) && view.lan_flows,
                Step::Next(Self::FirstChoice),
                START_MAX,
                "the uplinks did not come up, or traffic did not take the first choice",
            ),
            Self::FirstChoice => (
                lasted >= QUIET,
                Step::Next(Self::Cut),
                MOVE_MAX,
                "traffic does not flow",
            ),
            Self::Cut => (
                by(1),
                Step::Next(Self::SecondChoice),
                MOVE_MAX,
                "the kernel's route stayed on the cut uplink",
            ),
            Self::SecondChoice => (
                by(1) && view.lan_flows && lasted >= QUIET,
                Step::Next(Self::Repaired),
                MOVE_MAX,
                "the LAN's packets did not follow the route to the second choice",
            ),
            Self::Repaired => (
                by(0),
                Step::Next(Self::Back),
                MOVE_MAX,
                "the kernel's route did not come back to the first choice",
            ),
            Self::Back => (
                by(0) && view.lan_flows && lasted >= QUIET,
                Step::End,
                MOVE_MAX,
                "the LAN's packets did not follow the route back to the first choice",
            ),
        };
        match (done, lasted > patience) {
            (true, _) => next,
            (false, true) => Step::Fail(failure),
            (false, false) => Step::Wait,
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the play needs some beginning")]
mod tests {
    use super::*;

    const GOOD: View = View {
        both_up: true,
        route: Some(0),
        own: true,
        lan_flows: true,
    };

    #[test]
    fn a_route_that_does_not_move_fails_the_play() {
        let began = Instant::now();
        assert_eq!(Act::Cut.step(&GOOD, began, began + MOVE_MAX), Step::Wait);
        let late = began + MOVE_MAX + Duration::from_millis(1);
        assert!(matches!(Act::Cut.step(&GOOD, began, late), Step::Fail(_)));
        let moved = View {
            route: Some(1),
            ..GOOD
        };
        assert_eq!(
            Act::Cut.step(&moved, began, began),
            Step::Next(Act::SecondChoice)
        );
    }

    #[test]
    fn a_learned_route_is_not_taken_for_pingus() {
        let began = Instant::now();
        let learned = View { own: false, ..GOOD };
        assert_eq!(Act::Starting.step(&learned, began, began), Step::Wait);
        assert_eq!(
            Act::Starting.step(&GOOD, began, began),
            Step::Next(Act::FirstChoice)
        );
    }

    #[test]
    fn the_play_ends_only_while_packets_flow() {
        let began = Instant::now();
        let stuck = View {
            lan_flows: false,
            ..GOOD
        };
        assert_eq!(Act::Back.step(&stuck, began, began + QUIET), Step::Wait);
        assert_eq!(Act::Back.step(&GOOD, began, began + QUIET), Step::End);
    }
}
