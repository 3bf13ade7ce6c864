//! Limits for failing and for recovering, and the window of verdicts.

use std::time::Duration;

use pingu_tests::lab::{
    daemon::Daemon, delay::Delay, route_watch, settings::Settings, site::TARGET, status, turn,
    wait::wait_until,
};

use super::{DEADLINE, slow, stays};
use crate::running::{running, two_uplinks};

/// Bursts of ten, which a provider can thin out exactly.
fn in_tens(health: &str) -> Settings {
    let settings = Settings::new()
        .probe("targets = [\"8.8.8.8\"]\ncount = 10\nspacing = \"5ms\"\nperiod = \"200ms\"\ntimeout = \"100ms\"")
        .health(health);
    two_uplinks(settings)
}

#[test]
fn loss_between_the_limits_neither_fells_nor_raises_an_uplink() {
    let _turn = turn::alone();
    let settings = in_tens("max_lost = 4\nrecover_lost = 1");
    let (site, mut daemon) = running(&settings);
    let provider = &site.providers[0];
    provider.lose_of_each(3, 10);
    stays(&mut daemon, "up");
    provider.lose_of_each(6, 10);
    let status = daemon.wait_until_down("fibre");
    println!("{}", status::reason(&status, "fibre"));
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
    provider.lose_of_each(3, 10);
    stays(&mut daemon, "down");
    provider.lose_of_each(1, 10);
    daemon.wait_until_up(&["fibre", "lte"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
}

#[test]
fn delay_between_the_limits_neither_fells_nor_raises_an_uplink() {
    let _turn = turn::alone();
    let settings = slow("max_delay = \"120ms\"\nrecover_delay = \"60ms\"");
    let (site, mut daemon) = running(&settings);
    let delay = Delay::start(&site.providers[0]);
    let ms = Duration::from_millis;
    delay.set(ms(85));
    stays(&mut daemon, "up");
    delay.set(ms(170));
    let status = daemon.wait_until_down("fibre");
    println!("{}", status::reason(&status, "fibre"));
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(1), DEADLINE);
    delay.set(ms(85));
    stays(&mut daemon, "down");
    delay.set(ms(20));
    daemon.wait_until_up(&["fibre", "lte"]);
    route_watch::wait_until_by(&site.router, TARGET, site.ifindex(0), DEADLINE);
}

#[test]
fn jitter_between_the_limits_neither_fells_nor_raises_an_uplink() {
    let _turn = turn::alone();
    let settings = slow("max_delay = \"400ms\"\nmax_jitter = \"80ms\"\nrecover_jitter = \"30ms\"");
    let (site, mut daemon) = running(&settings);
    let delay = Delay::start(&site.providers[0]);
    let ms = Duration::from_millis;
    // The mean is the same throughout.
    let swing = |by: u64| delay.alternate(ms(75 - by / 2), ms(75 + by / 2));
    swing(55);
    stays(&mut daemon, "up");
    swing(130);
    let status = daemon.wait_until_down("fibre");
    println!("{}", status::reason(&status, "fibre"));
    swing(55);
    stays(&mut daemon, "down");
    swing(0);
    daemon.wait_until_up(&["fibre", "lte"]);
}

const WINDOW: usize = 6;
const MAX_FAILED: usize = 2;
const MIN_CONSECUTIVE: usize = 1;

/// The formula of multigateway, over all verdicts so far.
fn reliable(good: &[bool]) -> bool {
    let last = &good[good.len().saturating_sub(WINDOW)..];
    let failed = last.iter().filter(|good| !**good).count();
    let consecutive = last.iter().rev().take_while(|good| **good).count();
    failed <= MAX_FAILED && consecutive > MIN_CONSECUTIVE
}

#[test]
fn with_a_window_the_state_is_the_formula_at_every_burst() {
    let _turn = turn::alone();
    let settings = two_uplinks(
        Settings::new()
            .probe("targets = [\"8.8.8.8\"]\ncount = 1\nperiod = \"400ms\"\ntimeout = \"100ms\"")
            .health(&format!(
                "window = {WINDOW}\nmax_failed = {MAX_FAILED}\nmin_consecutive = {MIN_CONSECUTIVE}"
            )),
    );
    let (site, mut daemon) = running(&settings);
    let mut seen = Seen::start(&mut daemon);
    for lost in [1, 3] {
        site.providers[0].lose_first(lost);
        seen.follow(&mut daemon, lost, WINDOW);
    }
    println!("{:?}", seen.verdicts);
}

/// The bursts of one probe each over the first uplink, as the status tells of them.
struct Seen {
    verdicts: Vec<bool>,
    answered: u64,
    lost: u64,
}

impl Seen {
    fn start(daemon: &mut Daemon) -> Self {
        let (answered, lost, _) = figures(daemon);
        let good = usize::try_from(answered).expect("a test has few probes");
        Self {
            verdicts: vec![true; good],
            answered,
            lost,
        }
    }

    /// Compares the state with the formula until these are lost and, after them, so many more are answered.
    fn follow(&mut self, daemon: &mut Daemon, losses: u32, answers: usize) {
        let lost_before = self.lost;
        let what = format!("{losses} losses and {answers} answers");
        wait_until(&what, DEADLINE, || {
            let (answered, lost, state) = figures(daemon);
            let news = (answered - self.answered, lost - self.lost);
            assert!(news.0 + news.1 <= 1, "a burst was overlooked: {news:?}");
            (self.answered, self.lost) = (answered, lost);
            self.verdicts.extend((news.0 == 1).then_some(true));
            self.verdicts.extend((news.1 == 1).then_some(false));
            let expected = if reliable(&self.verdicts) {
                "up"
            } else {
                "down"
            };
            assert_eq!(state, expected, "{:?}", self.verdicts);
            let after = self.verdicts.iter().rev().take_while(|good| **good).count();
            if lost == lost_before + u64::from(losses) && after >= answers {
                Ok(())
            } else {
                Err(format!("{:?}", self.verdicts))
            }
        });
    }
}

fn figures(daemon: &mut Daemon) -> (u64, u64, String) {
    let status = daemon.status().expect("pingu answers");
    let target = status::target(&status, "fibre", 0);
    let of = |name| status::counter(target, name);
    let state = status::state(&status, "fibre").to_owned();
    (of("answered"), of("lost"), state)
}
