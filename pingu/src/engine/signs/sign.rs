//! What the handshakes of an uplink say against its pings.

use crate::engine::{State, handshakes::Count};

/// What handshakes say against the pings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Nothing.
    #[default]
    None,
    /// It works, although pings are lost.
    Kept(Count),
    /// Pings are lost, but traffic comes in: handshakes may soon tell.
    Waits,
    /// None of so many succeeds, although pings are answered; whether the uplink is down for that.
    Portal { begun: u64, judged: bool },
}

impl Sign {
    /// The state, given the one by pings.
    pub(crate) fn heed(self, by_pings: State) -> State {
        match (self, by_pings) {
            (Self::Kept(_) | Self::Waits, State::Down) => State::Up,
            (Self::Portal { judged: true, .. }, State::Up) => State::Down,
            (Self::None | Self::Kept(_) | Self::Waits | Self::Portal { .. }, _) => by_pings,
        }
    }

    /// Both say the same but for numbers.
    pub(crate) fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }

    /// What it says, for people.
    pub(crate) fn reason(self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Kept(Count {
                begun, answered, ..
            }) => {
                let answered = answered.min(begun);
                Some(format!(
                    "pings lost, but {answered} of {begun} handshakes succeed"
                ))
            }
            Self::Waits => Some("pings lost, but packets come in: waits for handshakes".to_owned()),
            Self::Portal { begun, .. } => Some(format!(
                "portal: pings are answered, but none of {begun} TCP handshakes"
            )),
        }
    }
}
