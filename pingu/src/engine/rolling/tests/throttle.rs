//! Targets that answer only so often, and wires that only lose.

use super::*;

/// A target that answers so many a second, so many at once.
fn bucket(per_s: f64, most: f64) -> impl FnMut(Instant) -> Option<Duration> {
    let (mut tokens, mut before) = (most, None::<Instant>);
    move |at: Instant| {
        let grown = before.map_or(0.0, |before| (at - before).as_secs_f64() * per_s);
        before = Some(at);
        tokens = (tokens + grown).min(most);
        (tokens >= 1.0).then(|| {
            tokens -= 1.0;
            ms(2)
        })
    }
}

fn driver() -> Driver {
    Driver::new(
        "interval = \"10ms\"\ntimeout = \"50ms\"\nwindow = \"10s\"\nfall = 3\nrise = 3\nmax_loss = 10",
    )
}

fn losses_in(driver: &Driver, since: usize) -> usize {
    let lost = |seen: &&Seen| seen.rtt.is_none();
    driver.wire.log[since..].iter().filter(lost).count()
}

#[test]
fn a_limit_is_found_paced_around_and_the_path_stays_up() {
    for (per_s, most) in [
        (1.0, 1.0),
        (5.0, 5.0),
        (7.3, 1.0),
        (20.0, 20.0),
        (30.0, 3.0),
        (60.0, 10.0),
    ] {
        let mut driver = driver();
        let mut fate = bucket(per_s, most);
        // Three blocks with four answers each, then twenty answers.
        let found = Duration::from_secs_f64(12.0 / per_s + 60.0 / per_s + 5.0);
        driver.run(found, &mut fate);
        let limit = driver.rolling.rate_limit(&driver.config.probe);
        let limit = limit.unwrap_or_else(|| panic!("{per_s}: {:?}", driver.rolling.throttle));
        assert!(limit.as_secs_f64() * per_s >= 1.0, "{per_s}: {limit:?}");
        assert!(
            limit.as_secs_f64() * per_s <= 1.6 || limit <= ms(30),
            "{per_s}: {limit:?}"
        );
        // Once the window has forgotten what was lost.
        driver.until(State::Up, Duration::from_secs(15), &mut fate);
        let (begin, told) = (driver.now(), driver.wire.log.len());
        while driver.now() < begin + Duration::from_secs(60) {
            driver.run(Duration::from_secs(1), &mut fate);
            assert_eq!(driver.state(), State::Up, "{per_s}");
        }
        let probes = driver.wire.log.len() - told;
        let lost = losses_in(&driver, told);
        assert!(lost * 50 < probes, "{per_s}: {lost} of {probes}");
        assert!(driver.tally_adds_up());
    }
}

#[test]
fn a_limit_that_ends_is_forgotten_and_tried_for_at_no_cost() {
    let mut driver = driver();
    driver.run(Duration::from_secs(30), &mut bucket(20.0, 5.0));
    assert!(driver.rolling.throttle.is_slowed());
    let mut whole = always(ms(2));
    driver.run(Duration::from_secs(300), &mut whole);
    assert!(
        !driver.rolling.throttle.is_slowed(),
        "{:?}",
        driver.rolling.throttle
    );
    assert_eq!(driver.state(), State::Up);
    assert_eq!(driver.rolling.rate_limit(&driver.config.probe), None);
}

#[test]
fn a_limited_target_that_dies_is_seen_and_comes_back_limited() {
    let mut driver = driver();
    let mut fate = bucket(20.0, 5.0);
    driver.run(Duration::from_secs(30), &mut fate);
    let interval = driver
        .rolling
        .rate_limit(&driver.config.probe)
        .expect("it is limited");
    let took = driver.until(State::Down, Duration::from_secs(5), &mut never);
    assert!(took <= interval * 3 + ms(51), "{took:?} at {interval:?}");
    driver.run(Duration::from_secs(60), &mut never);
    driver.until(State::Up, Duration::from_secs(20), &mut fate);
    let told = driver.wire.log.len();
    driver.run(Duration::from_secs(20), &mut fate);
    assert_eq!(losses_in(&driver, told), 0);
}

/// What of so many probes is sent while a limit is believed in, if each is lost by itself.
fn share_slowed(loss: u64, probes: u64) -> f64 {
    let driver = driver();
    let pace = driver.config.probe.mode.rolling();
    let mut random = Random(loss);
    let (mut throttle, mut slowed) = (Throttle::default(), 0);
    for number in 0..probes {
        throttle.note((number, number + 1), random.below(100) >= loss, pace);
        slowed += u64::from(throttle.limit(pace).is_some());
    }
    slowed as f64 / probes as f64
}

#[test]
fn a_time_of_random_losses_leaves_the_interval_as_it_was() {
    let mut slowed = 0;
    for seed in 0..1000 {
        let driver = driver();
        let pace = driver.config.probe.mode.rolling();
        let mut random = Random(seed);
        let mut throttle = Throttle::default();
        for number in 0..1000 {
            let is_lost = number < 700 && random.below(100) < 25 + seed % 50;
            throttle.note((number, number + 1), !is_lost, pace);
        }
        slowed += u32::from(throttle.is_slowed());
    }
    assert!(slowed < 10, "{slowed} of 1000");
}

#[test]
fn random_losses_are_hardly_ever_taken_for_a_limit() {
    for loss in [1, 5, 10, 20, 25, 30, 40, 50, 70, 90] {
        let share = share_slowed(loss, 2_000_000);
        assert!(share < 0.05, "{loss} %: {share}");
    }
}

#[test]
fn an_interval_that_cannot_be_longer_stays() {
    let mut driver = Driver::new(
        "interval = \"1s\"\ntimeout = \"500ms\"\nwindow = \"4s\"\nfall = 3\nrise = 3\nmax_loss = 10",
    );
    driver.run(Duration::from_secs(600), &mut bucket(0.5, 1.0));
    assert!(!driver.rolling.throttle.is_slowed());
}
