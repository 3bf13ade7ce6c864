//! A script that hangs again and again.
#![expect(clippy::disallowed_methods, reason = "a time to begin with")]

use super::*;

#[test]
fn a_script_that_always_hangs_is_started_again_ever_later_and_then_no_more() {
    let now = Instant::now();
    let mut adviser = Adviser::new(None, now).expect("there is no script to read");
    let said = |adviser: &mut Adviser| {
        adviser.give_up("it hangs", now);
        let again = adviser
            .restart_at
            .map(|at| at.duration_since(now).as_secs());
        (again, adviser.faults["the script"].clone())
    };
    for pause_s in [1, 10, 60, 600] {
        let (again, fault) = said(&mut adviser);
        assert_eq!(again, Some(pause_s));
        let words = format!("it hangs; it is started again in {pause_s} s");
        assert!(fault.contains(&words), "{fault}");
    }
    for _ in 0..2 {
        let (again, fault) = said(&mut adviser);
        assert_eq!(again, None);
        assert!(fault.contains("it is not started again"), "{fault}");
    }
}
