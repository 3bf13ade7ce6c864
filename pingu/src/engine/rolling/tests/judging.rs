//! What the window and the rows say.

use super::*;

#[test]
fn over_random_wires_the_window_is_what_dpinger_reckons() {
    let mut late = 0;
    for seed in 0..60 {
        let mut random = Random(1000 + seed);
        let (interval, timeout) = (5 + random.below(100), 5 + random.below(300));
        let window = (interval * (4 + random.below(120))).max(interval * 3 + timeout);
        let mut driver = Driver::new(&format!(
            "interval = \"{interval}ms\"\ntimeout = \"{timeout}ms\"\nwindow = \"{window}ms\""
        ));
        // Some of the answers come after the timeout, some out of order.
        let mut fate = random_wire(seed, random.below(90), ms(timeout * 3 / 2));
        for _ in 0..400 {
            driver.run(ms(1 + random.below(interval * 2)), &mut fate);
            driver.look(&mut fate);
            let found = driver.rolling.probes.report();
            let mut reckoned = driver.reckoned();
            // What was sent within this look is pending on both sides, and its window begins with this look.
            reckoned.pending = found.pending;
            assert_eq!(found, reckoned, "seed {seed}");
            assert!(
                driver.tally_adds_up(),
                "seed {seed}: {:?}",
                driver.record.tally
            );
        }
        late += driver.record.tally.late;
    }
    assert!(late > 1000, "{late} late answers");
}

#[test]
fn a_late_answer_takes_its_loss_back_while_it_is_in_the_window() {
    let mut driver = Driver::new(
        "interval = \"100ms\"\ntimeout = \"200ms\"\nwindow = \"3s\"\nmax_delay = \"1s\"",
    );
    driver.run(ms(2000), &mut always(ms(20)));
    driver.run(ms(100), &mut always(ms(700)));
    driver.run(ms(500), &mut always(ms(20)));
    assert_eq!(driver.rolling.probes.report().lost, 1);
    assert_eq!(driver.record.tally.lost, 1);
    driver.run(ms(300), &mut always(ms(20)));
    let report = driver.rolling.probes.report();
    assert_eq!((report.lost, driver.record.tally.lost), (0, 0));
    assert_eq!(driver.record.tally.late, 1);
    assert!(report.rtt_mean > ms(40), "its delay counts: {report:?}");
    assert!(driver.record.window.summary().expect("answers").max <= 200_000.0);
    driver.run(ms(4000), &mut always(ms(20)));
    assert!(
        driver.rolling.probes.report().rtt_mean < ms(21),
        "forgotten"
    );
}

#[test]
fn an_answer_in_time_is_not_late_although_a_router_reported_otherwise() {
    let mut driver = Driver::new("interval = \"100ms\"\ntimeout = \"500ms\"\nwindow = \"10s\"");
    driver.run(ms(1000), &mut always(ms(150)));
    driver.wire.is_slandered = true;
    driver.run(ms(1000), &mut always(ms(150)));
    assert!(driver.record.tally.lost > 0, "the router is believed first");
    driver.wire.is_slandered = false;
    driver.run(ms(1000), &mut always(ms(150)));
    let tally = driver.record.tally;
    assert_eq!((tally.lost, tally.late), (0, 0), "{tally:?}");
    let causes = driver.record.causes.list();
    assert!(causes.iter().all(|cause| cause.count == 0), "{causes:?}");
    assert!(driver.tally_adds_up(), "{tally:?}");
}

#[test]
fn a_row_of_misses_is_taken_back_by_late_answers_too() {
    let mut driver =
        Driver::new("interval = \"100ms\"\ntimeout = \"100ms\"\nfall = 4\nmax_delay = \"1s\"");
    driver.run(ms(3000), &mut always(ms(20)));
    // Every answer comes 250 ms late: no more than three are ever missing at once.
    driver.run(ms(3000), &mut always(ms(350)));
    assert_eq!(driver.state(), State::Up);
    assert!(driver.record.tally.late > 20);
}

#[test]
fn the_window_judges_losses_that_are_never_in_a_row_and_forgets_them() {
    let mut driver =
        Driver::new("interval = \"100ms\"\ntimeout = \"100ms\"\nwindow = \"6s\"\nrecover_loss = 5");
    driver.run(ms(10_000), &mut always(ms(20)));
    let mut number = 0;
    let took = driver.until(State::Down, ms(10_000), &mut |_| {
        number += 1;
        (number % 3 != 0).then_some(ms(20))
    });
    // More than a fifth of sixty probes at one in three.
    assert!(took > ms(3500) && took < ms(4200), "{took:?}");
    let judged = driver.record.judged.expect("judged");
    assert_eq!(
        (judged.basis, judged.verdict),
        (Basis::Window, Verdict::Bad)
    );
    assert_eq!(judged.report.lost, 13);
    let took = driver.until(State::Up, ms(10_000), &mut always(ms(20)));
    assert!(took > ms(4000) && took < ms(6000), "{took:?}");
}

#[test]
fn delay_and_jitter_are_those_of_the_window() {
    let mut driver = Driver::new(
        "interval = \"100ms\"\ntimeout = \"300ms\"\nwindow = \"4s\"\nrecover_delay = \"50ms\"",
    );
    driver.run(ms(5000), &mut always(ms(20)));
    driver.until(State::Down, ms(4000), &mut always(ms(150)));
    assert_eq!(driver.record.judged.expect("judged").basis, Basis::Window);
    driver.until(State::Up, ms(4000), &mut always(ms(20)));
    let mut driver = Driver::new(
        "interval = \"100ms\"\ntimeout = \"300ms\"\nwindow = \"4s\"\nmax_jitter = \"30ms\"",
    );
    driver.run(ms(5000), &mut always(ms(20)));
    assert_eq!(driver.state(), State::Up);
    let mut number = 0;
    driver.until(State::Down, ms(4000), &mut |_| {
        number += 1;
        Some(ms(20 + 60 * (number % 2)))
    });
}

#[test]
fn nothing_is_said_before_rise_answers_and_silence_alone_is_down() {
    let mut driver = Driver::new("interval = \"100ms\"\ntimeout = \"100ms\"\nrise = 4");
    driver.run(ms(309), &mut always(ms(20)));
    assert_eq!(driver.state(), State::Unknown);
    driver.run(ms(30), &mut always(ms(20)));
    assert_eq!(driver.state(), State::Up);
    let mut dead = Driver::new("interval = \"100ms\"\ntimeout = \"100ms\"");
    assert_eq!(dead.until(State::Down, ms(1000), &mut never), ms(300));
}

#[test]
fn after_a_fall_only_fresh_answers_bring_it_up() {
    let mut driver = Driver::new(
        "interval = \"100ms\"\ntimeout = \"1s\"\nsuspect_interval = \"10ms\"\nwindow = \"5s\"\nmax_loss = 90",
    );
    driver.run(ms(5000), &mut always(ms(20)));
    driver.until(State::Down, ms(1000), &mut never);
    let fell = driver.now();
    driver.run(ms(3000), &mut never);
    assert_eq!(driver.state(), State::Down);
    driver.until(State::Up, ms(2000), &mut always(ms(20)));
    let log = driver.wire.log.iter();
    let fresh = log.filter(|seen| seen.rtt.is_some() && seen.sent > fell);
    assert!(fresh.count() >= 3);
}

#[test]
fn what_never_left_says_nothing_but_that_it_is_blind() {
    let mut driver = Driver::new("interval = \"100ms\"\ntimeout = \"100ms\"");
    driver.run(ms(2000), &mut always(ms(20)));
    driver.wire.errno = Some(libc::ENETDOWN);
    driver.run(ms(5000), &mut never);
    assert_eq!(driver.state(), State::Up);
    let judged = driver.record.judged.expect("judged");
    assert_eq!(judged.verdict, Verdict::Blind);
    assert_eq!(judged.report.errno, Some(libc::ENETDOWN));
    assert!(driver.tally_adds_up());
    driver.wire.errno = None;
    driver.run(ms(1000), &mut always(ms(20)));
    assert_eq!(driver.record.judged.expect("judged").verdict, Verdict::Good);
}

#[test]
fn a_blocked_path_forgets_and_what_was_on_its_way_is_only_counted() {
    let mut driver = Driver::new("interval = \"100ms\"\ntimeout = \"500ms\"\nfall = 1");
    driver.run(ms(3000), &mut always(ms(20)));
    let ready = driver.record.readiness;
    driver.run(ms(250), &mut never);
    let now = driver.now();
    driver.record.set_readiness(Readiness::Blocked, now);
    driver.rolling.block();
    driver.wake = Some(now);
    driver.run(ms(2000), &mut never);
    assert_eq!(driver.state(), State::Unknown);
    assert!(driver.wake.is_none(), "nothing is left to look for");
    assert!(driver.tally_adds_up());
    assert!(driver.record.tally.lost >= 2);
    let now = driver.now();
    driver.record.set_readiness(ready, now);
    driver.rolling.start_over(now);
    driver.wake = Some(now);
    driver.run(ms(400), &mut always(ms(20)));
    assert_eq!(driver.state(), State::Up);
}
