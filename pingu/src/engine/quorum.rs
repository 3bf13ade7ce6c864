//! From the states of an uplink's targets to its own.

use crate::{config::Quorum, engine::health::State};

/// Up with enough targets that are up, down once there can't be enough: of so many, so many are up and of so many nothing is known.
pub(crate) fn judge(quorum: Quorum, all: usize, up: usize, unknown: usize) -> State {
    let needed = quorum.of(all).max(1);
    if up >= needed {
        State::Up
    } else if up + unknown >= needed {
        State::Unknown
    } else {
        State::Down
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_targets_as_the_quorum_says_must_be_up() {
        use State::{Down, Unknown, Up};
        let count = |states: &[State], wanted| states.iter().filter(|s| **s == wanted).count();
        let (any, all, two) = (Quorum::Any, Quorum::All, Quorum::AtLeast(2));
        for (quorum, states, state) in [
            (any, &[Down, Up][..], Up),
            (any, &[Down, Unknown], Unknown),
            (any, &[Down, Down], Down),
            (any, &[], Down),
            (all, &[Up, Up, Up], Up),
            (all, &[Up, Unknown, Up], Unknown),
            (all, &[Up, Unknown, Down], Down),
            (all, &[], Down),
            (two, &[Up, Down, Up], Up),
            (two, &[Up, Down, Unknown], Unknown),
            (two, &[Up, Down, Down], Down),
            (two, &[Up], Up),
        ] {
            assert_eq!(
                judge(
                    quorum,
                    states.len(),
                    count(states, Up),
                    count(states, Unknown)
                ),
                state,
                "{quorum:?} {states:?}"
            );
        }
    }
}
