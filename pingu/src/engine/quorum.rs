//! From the states of an uplink's targets to its own.

use crate::{config::Quorum, engine::health::State};

/// Up with enough targets that are up, down once there can't be enough.
pub(crate) fn judge(quorum: Quorum, states: impl Iterator<Item = State>) -> State {
    let (mut all, mut up, mut unknown) = (0, 0, 0);
    for state in states {
        all += 1;
        match state {
            State::Up => up += 1,
            State::Unknown => unknown += 1,
            State::Down => {}
        }
    }
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
                judge(quorum, states.iter().copied()),
                state,
                "{quorum:?} {states:?}"
            );
        }
    }
}
