//! While hooks are being attached, what is due waits: it is sent once they stand, and nothing counts as refused or lost.

use std::time::Duration;

use pingu::{
    engine::{HookState, State},
    units::UplinkId,
};

use crate::crowd::{Crowd, targets, uplinks};

const MS: Duration = Duration::from_millis(1);

#[test]
fn what_is_due_waits_for_hooks_however_long_and_leaves_when_they_stand() {
    for mode in [
        "count = 3\nperiod = \"2s\"",
        "mode = \"rolling\"\ninterval = \"200ms\"",
    ] {
        for attached_ms in [20, 900, 7_300] {
            let text = format!("[probe]\n{}\n{mode}\n{}", targets(2), uplinks(2, ""));
            let mut crowd = Crowd::without_interfaces(&text);
            let id = UplinkId(0);
            crowd.engine.set_hook(id, HookState::Attaching);
            crowd.look(2);
            crowd.run_until(MS * attached_ms);
            let by_first = |crowd: &Crowd| {
                let sent = crowd.transport.sent.iter();
                sent.filter(|sent| sent.ifindex.0 == 2).count()
            };
            assert_eq!(by_first(&crowd), 0, "{mode}");
            assert!(crowd.transport.sent.iter().any(|sent| sent.ifindex.0 == 3));
            crowd.serve(id);
            crowd.run_until(MS * (attached_ms + 100));
            assert!(by_first(&crowd) >= 2, "{mode}: both targets are asked");
            crowd.run_until(MS * (attached_ms + 6_000));
            assert_eq!(crowd.engine.state_of(id), State::Up, "{mode}");
            assert!(!crowd.changes.iter().any(|change| change.2 == State::Down));
            assert_eq!(crowd.missing_and_answered().0, 0, "{mode}");
        }
    }
}
