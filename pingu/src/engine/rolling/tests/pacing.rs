//! When probes leave, when the path is looked at, and how soon a failure is seen.

use super::*;

fn random_below(random: &mut Random, end: Duration) -> Duration {
    Duration::from_nanos(random.below(end.as_nanos() as u64))
}

#[test]
fn whatever_is_lost_it_never_falls_with_fewer_than_fall_losses_since_it_rose() {
    let mut falls = 0;
    for seed in 0..60 {
        let mut random = Random(seed);
        let (fall, rise) = (1 + random.below(5), 1 + random.below(5));
        let mut driver = Driver::new(&format!(
            "interval = \"20ms\"\ntimeout = \"30ms\"\nwindow = \"{}ms\"\nfall = {fall}\nrise = {rise}\nmax_loss = {}",
            200 + random.below(2000),
            random.below(40)
        ));
        let mut fate = random_wire(seed, 5 + random.below(60), ms(25));
        let mut rose = driver.now();
        for _ in 0..3000 {
            let before = driver.state();
            let wake = driver.wake.expect("it is not blocked");
            driver.wire.now = wake.max(driver.now() + Duration::from_micros(1));
            driver.look(&mut fate);
            match (before, driver.state()) {
                (State::Up, State::Up) | (State::Down, State::Down) => {}
                (_, State::Up) => rose = driver.now(),
                (_, State::Down) => {
                    falls += 1;
                    // One that was under way as it rose may be lost since.
                    let since = rose.checked_sub(ms(30)).expect("the clock has run");
                    let log = driver.wire.log.iter();
                    let lost = log
                        .filter(|seen| seen.rtt.is_none() && seen.sent >= since)
                        .filter(|seen| seen.sent + ms(30) <= driver.now())
                        .count() as u64;
                    assert!(lost >= fall, "seed {seed}: {lost} of {fall}");
                }
                (_, State::Unknown) => {}
            }
        }
    }
    assert!(falls > 100, "{falls}");
}

#[test]
fn a_cut_is_seen_in_time_and_not_before_its_probes_are_lost() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let (interval, timeout) = (1 + random.below(500), 1 + random.below(500));
        let fall = 1 + random.below(6) as u32;
        let mut driver = Driver::new(&format!(
            "interval = \"{interval}ms\"\ntimeout = \"{timeout}ms\"\nwindow = \"10s\"\nfall = {fall}\nmax_delay = \"1s\""
        ));
        let (interval, timeout) = (ms(interval), ms(timeout));
        let rtt = timeout / 3;
        driver.until(State::Up, ms(60_000), &mut always(rtt));
        driver.run(
            interval * 20 + random_below(&mut random, interval),
            &mut always(rtt),
        );
        let cut = driver.now();
        let took = driver.until(State::Down, ms(60_000), &mut never);
        let first_lost = driver.wire.log.iter().find(|seen| seen.rtt.is_none());
        let lead = first_lost.expect("a probe was lost").sent - cut;
        assert!(lead <= interval);
        let exact = lead + interval * (fall - 1) + timeout;
        assert!(
            took >= exact && took <= exact + ms(1),
            "seed {seed}: {took:?} {exact:?}"
        );
        assert_eq!(driver.record.judged.expect("judged").basis, Basis::Row);
    }
}

#[test]
fn a_suspicion_finds_a_cut_in_two_overdue_answers_and_the_intervals_between() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let (interval, suspect) = (100 + random.below(2000), 1 + random.below(60));
        let fall = 2 + random.below(4) as u32;
        let mut driver = Driver::new(&format!(
            "interval = \"{interval}ms\"\ntimeout = \"1s\"\nsuspect_interval = \"{suspect}ms\"\nfall = {fall}"
        ));
        let (interval, suspect) = (ms(interval), ms(suspect));
        let rtt = ms(1 + random.below(60));
        driver.until(State::Up, ms(60_000), &mut always(rtt));
        driver.run(
            interval * 30 + random_below(&mut random, interval),
            &mut always(rtt),
        );
        let overdue = driver
            .rolling
            .estimate
            .overdue_after(ms(1000), Some(suspect));
        assert!(overdue <= rtt * 2 + ms(1), "{overdue:?} {rtt:?}");
        let cut = driver.now();
        let took = driver.until(State::Down, ms(60_000), &mut never);
        let lost = || driver.wire.log.iter().filter(|seen| seen.rtt.is_none());
        let lead = lost().next().expect("a probe was lost").sent - cut;
        // Half an interval more where the look at the answer rides on another probe.
        let second = suspect.max(overdue + suspect / 2);
        let most = lead + second + suspect * (fall - 2) + overdue + ms(1);
        assert!(took <= most, "seed {seed}: {took:?} {most:?}");
        assert!(took >= overdue, "seed {seed}");
        assert!(lost().count() as u32 >= fall, "seed {seed}");
        // Nothing goes on that fast.
        let sent = driver.wire.log.len();
        driver.run(interval * 10, &mut never);
        assert!(driver.wire.log.len() - sent <= 11, "seed {seed}");
    }
}

#[test]
fn an_answer_calms_a_suspicion_and_nothing_has_happened() {
    let mut driver =
        Driver::new("suspect_interval = \"20ms\"\ninterval = \"1s\"\ntimeout = \"900ms\"");
    driver.run(ms(29_900), &mut always(ms(10)));
    let (sent, looks) = (driver.wire.log.len(), driver.looks);
    assert!(sent <= 32, "{sent}");
    assert!(
        looks <= 2 * sent as u32 + 20,
        "{looks} looks for {sent} probes"
    );
    // One lost probe: the next one, 20 ms later, is answered.
    let mut once = Some(());
    driver.run(ms(1000), &mut |_| once.take().is_none().then_some(ms(10)));
    let since: Vec<Instant> = driver.wire.log[sent..]
        .iter()
        .map(|seen| seen.sent)
        .collect();
    assert!(
        since.len() >= 2 && since[1] - since[0] < ms(50),
        "{since:?}"
    );
    driver.run(ms(10_000), &mut always(ms(10)));
    assert_eq!(driver.state(), State::Up);
    assert!(driver.wire.log.len() - sent <= 14);
}

#[test]
fn answers_that_grow_slower_than_their_estimate_are_not_a_failure() {
    let mut driver =
        Driver::new("suspect_interval = \"100ms\"\ninterval = \"500ms\"\nmax_delay = \"1s\"");
    driver.run(ms(30_000), &mut always(ms(10)));
    // Ten times as long from one moment to the next: the first answer comes before three are overdue.
    driver.run(ms(30_000), &mut always(ms(100)));
    assert_eq!(driver.state(), State::Up);
    assert_eq!(driver.record.health.good_since().map(|_| ()), Some(()));
    let bad = driver.record.evidence.bad;
    assert!(bad.is_none(), "{bad:?}");
}

#[test]
fn a_loop_that_stood_still_has_lost_nothing_and_makes_up_for_nothing() {
    for seed in 0..50 {
        let mut random = Random(seed);
        let suspect = ["", "suspect_interval = \"1ms\"\n"][random.below(2) as usize];
        let mut driver = Driver::new(&format!(
            "interval = \"1ms\"\ntimeout = \"2ms\"\nwindow = \"500ms\"\nmax_loss = 0\n{suspect}"
        ));
        let mut fate = random_wire(seed, 0, Duration::from_micros(900));
        driver.run(ms(1000), &mut fate);
        assert_eq!(driver.state(), State::Up);
        for _ in 0..50 {
            driver.wire.now += ms(1 + random.below(1000));
            let sent = driver.wire.log.len();
            driver.look(&mut fate);
            assert!(driver.wire.log.len() <= sent + 1, "nothing is made up for");
            assert_eq!(driver.state(), State::Up, "seed {seed}");
            driver.run(ms(random.below(20)), &mut fate);
            assert_eq!(driver.state(), State::Up, "seed {seed}");
        }
        assert_eq!(driver.record.tally.lost, 0);
    }
}

#[test]
fn idle_it_looks_once_a_probe() {
    let mut driver = Driver::new("");
    driver.run(ms(10_000), &mut always(ms(20)));
    let looks = driver.looks;
    driver.run(ms(60_000), &mut always(ms(20)));
    assert!(driver.looks - looks <= 121, "{}", driver.looks - looks);
}
