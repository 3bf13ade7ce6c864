//! Bursts in a suspicion: how fast a cut is found whatever the figures, and that no more are sent than that takes.

use std::time::Duration;

use pingu::units::{Ifindex, UplinkId};

use crate::crowd::{Crowd, targets, uplinks};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_suspicion_takes_as_many_bursts_as_a_fall_and_then_all_is_calm() {
    for (period_ms, suspect_ms, timeout_ms, count, fall) in [
        (5_000, 100, 200, 1, 3),
        (5_000, 100, 1_000, 3, 2),
        (2_000, 500, 50, 10, 5),
        (1_000, 1_000, 200, 2, 3),
        (3_000, 50, 1_000, 1, 10),
    ] {
        let text = format!(
            "[probe]\n{}\ncount = {count}\nspacing = \"10ms\"\nperiod = \"{period_ms}ms\"\ntimeout = \"{timeout_ms}ms\"\n\
             suspect_interval = \"{suspect_ms}ms\"\n[health]\nfall = {fall}\nmax_lost = 0\n{}",
            targets(1),
            uplinks(2, "")
        );
        let mut crowd = Crowd::new(&text);
        crowd.run_until(MS * (4 * period_ms));
        crowd.count_anew();
        crowd.run_until(MS * (6 * period_ms));
        assert_eq!(
            crowd.transport.sent.len(),
            4 * count,
            "nothing is suspected: {text}"
        );
        crowd.transport.cut.insert(Ifindex(2));
        let cut = crowd.now();
        crowd.count_anew();
        crowd.run_until(cut + MS * (3 * period_ms + fall * (suspect_ms + timeout_ms)));
        let down = crowd.down_after(UplinkId(0), cut).expect("it was cut");
        // Four at a time are on their way at most.
        let rounds = fall.div_ceil(4);
        let burst_ms = count as u32 * 10;
        let most = period_ms
            + fall * suspect_ms.max(burst_ms)
            + (rounds + 1) * (timeout_ms + burst_ms)
            + 50;
        assert!(
            down - cut <= MS * most,
            "{:?} {most} ms: {text}",
            down - cut
        );
        let before = |at: &Duration| *at >= cut && *at <= down;
        let sent = crowd
            .transport
            .sent
            .iter()
            .filter(|sent| sent.ifindex == Ifindex(2));
        let sent = sent.map(|sent| sent.at).filter(before).count();
        assert!(sent <= (fall as usize + 1) * count, "{sent} probes: {text}");
        // Down, it is probed as ever.
        crowd.count_anew();
        let calm = crowd.now();
        crowd.run_until(calm + MS * (4 * period_ms));
        let sent = crowd
            .transport
            .sent
            .iter()
            .filter(|sent| sent.ifindex == Ifindex(2));
        assert!(sent.count() <= 5 * count, "{text}");
    }
}
