//! How many requests are answered in a second, and that those beyond are the kernel's.

use std::time::{Duration, Instant};

use pingu_tests::lab::wait::wait_until;

use super::rig::{HOOKS, Hook, Rig, request};

const ANYBODY: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// Far from what the runs below need.
const DEADLINE: Duration = Duration::from_secs(10);

#[test]
fn a_full_bucket_is_emptied_at_once_and_refills_by_its_rate() {
    for limit in [1, 20, 333] {
        let rig = Rig::limited(&ANYBODY, limit);
        let interval = Duration::from_secs(1) / limit;
        let begin = Instant::now();
        let mut answered = 0;
        for run in 0..limit * 3 {
            answered += u32::from(is_answered(&rig, HOOKS[run as usize % 3], run % 2 == 0));
        }
        // One bucket for all programs and both families: it held so many, and others came back meanwhile.
        let came_back = begin.elapsed().as_nanos().div_ceil(interval.as_nanos()) as u32;
        let most = (limit + came_back).min(limit * 3);
        assert!((limit..=most).contains(&answered), "{answered} of {limit}");
        let mut asked = limit * 3;
        wait_until("another answer", DEADLINE, || {
            asked += 1;
            match is_answered(&rig, Hook::Xdp, true) {
                true => Ok(()),
                false => Err("none".to_owned()),
            }
        });
        let counters = rig.0.counters().unwrap();
        assert_eq!(counters.reflected, u64::from(answered) + 1);
        assert_eq!(counters.reflected + counters.limited, u64::from(asked));
    }
}

#[test]
fn what_is_not_answered_anyway_takes_nothing_out_of_the_bucket() {
    let rig = Rig::limited(&["198.51.100.0/24"], 1);
    let mut corrupt = request(Hook::Bare, true);
    corrupt.checksum_error = 0x0100;
    for _ in 0..10 {
        rig.passes_untouched(Hook::Bare, &corrupt.bytes(), "a wrong checksum");
        let elsewhere = request(Hook::Bare, false);
        rig.passes_untouched(Hook::Bare, &elsewhere.bytes(), "a source from elsewhere");
    }
    assert!(is_answered(&rig, Hook::Bare, true));
    let counters = rig.0.counters().unwrap();
    assert_eq!((counters.corrupt, counters.refused), (10, 10));
    assert_eq!(counters.limited, 0);
}

/// Whether a request is answered; one that is not is the kernel's, untouched and uncounted.
fn is_answered(rig: &Rig, hook: Hook, is_ipv4: bool) -> bool {
    let request = request(hook, is_ipv4).bytes();
    let counted = |rig: &Rig| -> u64 { rig.0.paths().iter().map(|path| path.requests).sum() };
    let before = counted(rig);
    let (verdict, out) = rig.run(hook, &request);
    let is_answered = verdict == hook.sent_back();
    assert_eq!(counted(rig), before + u64::from(is_answered));
    if !is_answered {
        assert_eq!(verdict, hook.passed());
        assert_eq!(out, request);
    }
    is_answered
}
