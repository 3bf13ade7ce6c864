//! When hooks are attached anew, and when sockets take their place.

use super::*;
use crate::engine::test_clock;

const PATIENCE: Option<Duration> = Some(Duration::from_secs(3));
const VANISHED: Option<&Option<i32>> = Some(&None);
const GONE: Option<&Option<i32>> = Some(&Some(libc::ENODEV));

fn hook(state: HookState) -> Hook {
    let tried = test_clock();
    Hook {
        bare: false,
        state,
        reason: None,
        tried,
        saw: false,
        blind_since: None,
        retry_at: tried + RETRY_HOOKS_EVERY,
        watched: false,
        is_under_way: false,
    }
}

/// What is done when this is seen so long after the last attempt, and was for `blind_for`.
fn step(
    mut hook: Hook,
    blind: Option<&Option<i32>>,
    blind_for: Duration,
    patience: Option<Duration>,
    after: Duration,
) -> Option<Step> {
    let now = hook.tried + after;
    hook.note(blind, hook.saw, now - blind_for);
    hook.note(blind, hook.saw, now);
    hook.step(blind, patience, now)
}

const ZERO: Duration = Duration::ZERO;

#[test]
fn only_what_new_hooks_can_cure_is_attached_anew() {
    let attached = || hook(HookState::Attached(EngineKind::Tcx));
    let failed = || hook(HookState::Failed("why".to_owned()));
    let (second, half_minute) = (REOPEN_EVERY, REATTACH_EVERY);
    assert_eq!(step(attached(), GONE, ZERO, None, ZERO), None);
    assert_eq!(
        step(attached(), GONE, ZERO, None, second),
        Some(Step::Attach)
    );
    assert_eq!(step(attached(), VANISHED, ZERO, None, second), None);
    assert_eq!(
        step(attached(), VANISHED, ZERO, None, half_minute),
        Some(Step::Attach)
    );
    assert_eq!(step(failed(), None, ZERO, None, second), None);
    assert_eq!(
        step(failed(), None, ZERO, None, half_minute),
        Some(Step::Attach)
    );
    for errno in [libc::ENOBUFS, libc::EAGAIN, libc::ENETDOWN] {
        let blind = Some(errno);
        let what = step(attached(), Some(&blind), half_minute, PATIENCE, half_minute);
        assert_eq!(what, None, "{errno}");
    }
    assert_eq!(
        step(attached(), None, ZERO, PATIENCE, RETRY_HOOKS_EVERY),
        None
    );
}

#[test]
fn hooks_that_stay_blind_yield_to_sockets() {
    let patience = PATIENCE.unwrap();
    let attached = || hook(HookState::Attached(EngineKind::Tcx));
    let late = RETRY_HOOKS_EVERY;
    assert_eq!(
        step(attached(), VANISHED, ZERO, PATIENCE, late),
        None,
        "one burst may be an accident"
    );
    assert_eq!(
        step(attached(), VANISHED, patience, PATIENCE, patience),
        Some(Step::GiveUp(BLIND)),
        "they never saw"
    );
    let mut saw = attached();
    saw.saw = true;
    assert_eq!(
        step(saw, VANISHED, patience, PATIENCE, patience),
        Some(Step::GiveUp(BLIND)),
        "it is too early for new ones"
    );
    let mut saw = attached();
    saw.saw = true;
    assert_eq!(
        step(saw, VANISHED, patience, PATIENCE, late),
        Some(Step::Attach),
        "they saw for a while, so new ones may see again"
    );
}

#[test]
fn where_sockets_took_over_hooks_are_tried_again_later() {
    let sockets = || hook(HookState::Attached(EngineKind::Socket));
    let (second, half_minute) = (REOPEN_EVERY, REATTACH_EVERY);
    assert_eq!(step(sockets(), None, ZERO, PATIENCE, half_minute), None);
    assert_eq!(
        step(sockets(), GONE, ZERO, PATIENCE, second),
        Some(Step::Reopen)
    );
    let vanished = step(sockets(), VANISHED, second, PATIENCE, half_minute);
    assert_eq!(vanished, Some(Step::Reopen));
    let late = RETRY_HOOKS_EVERY;
    assert_eq!(
        step(sockets(), None, ZERO, PATIENCE, late),
        Some(Step::Attach)
    );
    assert_eq!(
        step(sockets(), None, ZERO, None, late),
        None,
        "sockets were asked for"
    );
}
