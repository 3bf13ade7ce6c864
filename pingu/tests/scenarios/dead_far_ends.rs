//! Checks that fail over every uplink, or over one: whose fault that is, and what follows, in virtual time.

use std::time::Duration;

use pingu::engine::{State, check::Cause};

use crate::world::{Setting, World};

const HTTP: &str = "kind = \"http\"\nurl = \"http://192.0.2.80/\"";

fn seconds(count: f64) -> Duration {
    Duration::from_secs_f64(count)
}

/// So many uplinks, in order a, b, ..., each with this check.
fn world(uplinks: usize, check: &str) -> World {
    let checks: Vec<&str> = vec![check; uplinks];
    world_of(&checks)
}

/// An uplink with each of these checks; none where it is empty.
fn world_of(checks: &[&str]) -> World {
    let mut text = "[probe]\ntargets = [\"192.0.2.99\"]\ncount = 4\nspacing = \"20ms\"\ntimeout = \"200ms\"\nperiod = \"4s\"\n\
                    [health]\nmax_lost = 1\n"
        .to_owned();
    for (index, check) in checks.iter().enumerate() {
        let name = name(index);
        text += &format!("[[uplink]]\nname = \"{name}\"\ninterface = \"wan{index}\"\n");
        if !check.is_empty() {
            text += &format!("[[uplink.check]]\nname = \"web\"\n{check}\n");
        }
    }
    let mut world = World::new(&text);
    world.run_until(seconds(30.0));
    assert_eq!(world.status().active.as_deref(), Some("a"));
    world
}

fn name(index: usize) -> char {
    char::from(b'a' + index as u8)
}

fn active(world: &World) -> String {
    world.status().active.expect("traffic leaves")
}

fn states(world: &World) -> Vec<State> {
    let status = world.status();
    status.uplinks.iter().map(|uplink| uplink.state).collect()
}

fn left_out(world: &World) -> Vec<bool> {
    let status = world.status();
    let of = |uplink: &pingu::engine::UplinkStatus| uplink.checks[0].left_out;
    status.uplinks.iter().map(of).collect()
}

fn fail(world: &mut World, uplink: &str, cause: Cause, text: &str) {
    let failure = (cause, text.to_owned());
    world.far_ends().over.insert(uplink.to_owned(), failure);
}

/// Runs until an uplink is in a state; when that was.
#[track_caller]
fn when(world: &mut World, uplink: usize, state: State, within: Duration) -> Duration {
    let begin = world.elapsed();
    while states(world)[uplink] != state {
        let next = world.elapsed() + Duration::from_millis(20);
        assert!(next < begin + within, "{:#?}", world.status());
        world.run_until(next);
    }
    world.elapsed()
}

#[test]
fn a_server_that_dies_takes_no_uplink_down_and_is_named() {
    for cause in [Cause::Timeout, Cause::Refused, Cause::Status, Cause::Portal] {
        for fall in [1, 2, 5] {
            for at in 0..5 {
                let mut world = world(3, &format!("{HTTP}\nfall = {fall}\nevery = \"10s\""));
                world.run_until(seconds(60.0 + f64::from(at) * 2.3));
                world.far_ends().dead = Some(cause);
                world.run_until(seconds(200.0));
                let context = format!("{cause:?} {fall} {at}: {:#?}", world.status());
                assert_eq!(world.switches(), 0, "{context}");
                assert_eq!(states(&world), [State::Up; 3], "{context}");
                assert_eq!(left_out(&world), [true; 3], "{context}");
                for uplink in ["a", "b", "c"] {
                    assert_eq!(world.changes(uplink), 1, "{context}");
                }
                let status = world.status();
                let dead = "check web fails over every uplink: its far end is taken to be dead";
                assert!(status.uplinks[0].reason.contains(dead), "{context}");
                let named = status.warnings.iter().any(|warning| {
                    warning.starts_with(dead) && warning.contains("http://192.0.2.80/")
                });
                assert!(named, "{context}");
                assert!(world.why("b").uplinks[0].reason.contains(dead));
                world.far_ends().dead = None;
                world.run_until(seconds(260.0));
                assert_eq!(world.switches(), 0);
                assert_eq!(left_out(&world), [false; 3]);
                assert_eq!(world.status().warnings, Vec::<String>::new());
                assert_eq!(world.changes("a"), 1);
            }
        }
    }
}

#[test]
fn once_it_answers_over_one_uplink_it_counts_against_those_that_fail_anew() {
    let mut world = world(2, &format!("{HTTP}\nevery = \"10s\""));
    world.far_ends().dead = Some(Cause::Timeout);
    world.run_until(seconds(120.0));
    assert_eq!(left_out(&world), [true, true]);
    fail(&mut world, "a", Cause::Timeout, "nothing comes back");
    world.far_ends().dead = None;
    let fell = when(&mut world, 0, State::Down, seconds(30.0));
    assert!(fell > seconds(120.0), "{fell:?}");
    assert_eq!(active(&world), "b");
    assert_eq!(left_out(&world), [false, false]);
    world.far_ends().over.clear();
    when(&mut world, 0, State::Up, seconds(12.0));
    assert_eq!((active(&world).as_str(), world.switches()), ("a", 2));
}

#[test]
fn an_uplink_that_fails_alone_falls_as_soon_as_it_would_without_the_others() {
    // Failures that show at once, and those that take a timeout; phases differ from run to run.
    for (cause, takes) in [(Cause::Refused, 0.03), (Cause::Timeout, 5.0)] {
        for at in 0..8 {
            let mut world = world(3, &format!("{HTTP}\nfall = 2\nevery = \"10s\""));
            world.run_until(seconds(60.0 + f64::from(at) * 1.3));
            let cut = world.elapsed();
            fail(&mut world, "a", cause, "broken");
            let fell = when(&mut world, 0, State::Down, seconds(60.0));
            let begun = world.far_ends().begun.clone();
            let second = begun.iter().filter(|(_, uplink)| uplink == "a").nth_back(0);
            let asked = begun.iter().filter(|(_, uplink)| uplink == "b").nth_back(0);
            let (second, asked) = (second.expect("it ran").0, asked.expect("it ran").0);
            assert_eq!(
                second, asked,
                "the others are asked with the run that decides"
            );
            assert!(
                fell <= cut + seconds(20.0 + takes + 0.1),
                "{fell:?} {cut:?}"
            );
            assert_eq!(active(&world), "b");
            assert_eq!(states(&world)[1..], [State::Up; 2]);
        }
    }
    // With `fall = 1` nobody can be asked before: it takes an answer over another uplink.
    let mut world = world(2, &format!("{HTTP}\nfall = 1\nevery = \"10s\""));
    let cut = world.elapsed();
    fail(&mut world, "a", Cause::Refused, "broken");
    let fell = when(&mut world, 0, State::Down, seconds(60.0));
    assert!(fell <= cut + seconds(10.2), "{fell:?} {cut:?}");
}

#[test]
fn one_uplink_alone_is_judged_by_its_check_as_ever() {
    for checks in [&[HTTP][..], &[HTTP, ""]] {
        let mut world = world_of(checks);
        world.far_ends().dead = Some(Cause::Timeout);
        when(&mut world, 0, State::Down, seconds(80.0));
        let warnings = world.status().warnings;
        assert!(!warnings.iter().any(|text| text.contains("far end")));
    }
    // One whose line is cut can tell nothing of a server.
    let mut world = world(2, HTTP);
    let cut = Setting {
        answers: Some(false),
        ..Setting::default()
    };
    world.set("b", &cut);
    fail(&mut world, "b", Cause::Timeout, "nothing comes back");
    world.run_until(seconds(100.0));
    world.far_ends().dead = Some(Cause::Timeout);
    when(&mut world, 0, State::Down, seconds(80.0));
    // Repaired, it can, and the first was wronged.
    world.far_ends().over.clear();
    let repaired = Setting {
        answers: Some(true),
        ..Setting::default()
    };
    world.set("b", &repaired);
    when(&mut world, 0, State::Up, seconds(80.0));
    assert_eq!(left_out(&world), [true, true]);
}

#[test]
fn a_proven_failure_is_not_forgiven_when_the_server_dies_too() {
    let mut world = world(2, &format!("{HTTP}\nevery = \"10s\""));
    fail(&mut world, "a", Cause::Timeout, "nothing comes back");
    when(&mut world, 0, State::Down, seconds(60.0));
    world.far_ends().dead = Some(Cause::Refused);
    world.run_until(seconds(300.0));
    assert_eq!(states(&world), [State::Down, State::Up]);
    assert_eq!((active(&world).as_str(), world.switches()), ("b", 1));
    world.far_ends().dead = None;
    world.run_until(seconds(400.0));
    assert_eq!(states(&world), [State::Down, State::Up]);
    world.far_ends().over.clear();
    world.run_until(seconds(430.0));
    assert_eq!(states(&world), [State::Up, State::Up]);
}

#[test]
fn an_uplink_whose_line_is_cut_while_the_server_is_dead_falls_alone() {
    let mut world = world(2, &format!("{HTTP}\nevery = \"10s\""));
    world.far_ends().dead = Some(Cause::Timeout);
    world.run_until(seconds(120.0));
    let answers = |answers| Setting {
        answers: Some(answers),
        ..Setting::default()
    };
    world.set("a", &answers(false));
    world.run_until(seconds(300.0));
    assert_eq!(states(&world), [State::Down, State::Up]);
    assert_eq!(active(&world), "b");
    world.set("a", &answers(true));
    world.run_until(seconds(310.0));
    assert_eq!(states(&world), [State::Up, State::Up]);
    assert_eq!(active(&world), "a");
}

#[test]
fn portals_that_differ_are_portals_and_one_that_is_everywhere_is_the_server() {
    // Each line has a login page of its own.
    let mut world = world(2, &format!("{HTTP}\nevery = \"10s\""));
    fail(
        &mut world,
        "a",
        Cause::Portal,
        "captive portal: 302 to http://one/",
    );
    fail(
        &mut world,
        "b",
        Cause::Portal,
        "captive portal: 302 to http://two/",
    );
    world.run_until(seconds(120.0));
    assert_eq!(states(&world), [State::Down, State::Down]);
    // The server itself leads elsewhere since.
    for uplink in ["a", "b"] {
        fail(
            &mut world,
            uplink,
            Cause::Portal,
            "captive portal: 302 to http://new/",
        );
    }
    world.run_until(seconds(240.0));
    assert_eq!(states(&world), [State::Up, State::Up]);
    assert_eq!(left_out(&world), [true, true]);

    // A portal on one line, while the server is dead, is no word on the other line.
    let mut world = self::world(3, &format!("{HTTP}\nevery = \"10s\""));
    fail(
        &mut world,
        "a",
        Cause::Portal,
        "captive portal: 302 to http://one/",
    );
    when(&mut world, 0, State::Down, seconds(60.0));
    world.far_ends().dead = Some(Cause::Timeout);
    world.run_until(seconds(300.0));
    assert_eq!(states(&world), [State::Down, State::Up, State::Up]);
    assert_eq!(world.changes("b"), 1);
}

#[test]
fn a_dead_server_that_begins_to_answer_otherwise_stays_dead() {
    let mut world = world(3, &format!("{HTTP}\nevery = \"10s\"\ntimeout = \"2s\""));
    world.far_ends().dead = Some(Cause::Timeout);
    world.run_until(seconds(120.0));
    for cause in [Cause::Refused, Cause::Portal, Cause::Status] {
        world.far_ends().dead = Some(cause);
        world.run_until(world.elapsed() + seconds(60.0));
        assert_eq!(world.switches(), 0, "{cause:?}: {:#?}", world.status());
        assert_eq!(left_out(&world), [true; 3]);
        assert_eq!(world.changes("a"), 1);
    }
}

#[test]
fn who_wants_it_falls_with_all_and_programs_do_so_unless_told() {
    let program = "kind = \"exec\"\ncommand = [\"/bin/check\"]";
    let fall = format!("{HTTP}\nwhen_all_fail = \"fall\"");
    let ignore = format!("{program}\nwhen_all_fail = \"ignore\"");
    for (check, state) in [
        (program, State::Down),
        (&fall, State::Down),
        (&ignore, State::Up),
    ] {
        let mut world = world(2, check);
        world.far_ends().dead = Some(Cause::Exit);
        world.run_until(seconds(200.0));
        assert_eq!(states(&world), [state; 2], "{check}");
    }
}

#[test]
fn checks_that_want_something_else_have_no_common_far_end() {
    let other = |lines: &str| format!("kind = \"http\"\nurl = \"http://192.0.2.81/\"\n{lines}");
    let stricter = format!("{HTTP}\nbody = \"well\"");
    for second in [other(""), other("address = \"192.0.2.80\""), stricter] {
        let mut world = world_of(&[HTTP, &second]);
        world.far_ends().dead = Some(Cause::Timeout);
        world.run_until(seconds(200.0));
        assert_eq!(states(&world), [State::Down; 2], "{second}");
    }
    // How often and how patiently it is asked makes no difference.
    let seldom =
        format!("{HTTP}\nevery = \"60s\"\ntimeout = \"9s\"\nfall = 4\nrise = 3\nrequired = false");
    let often = format!("{HTTP}\nevery = \"3s\"\ntimeout = \"1s\"\nfall = 1");
    for pair in [[&seldom, &often], [&often, &seldom]] {
        let mut world = world_of(&pair.map(String::as_str));
        for _ in 0..5 {
            world.far_ends().dead = Some(Cause::Timeout);
            world.run_until(world.elapsed() + seconds(217.3));
            assert_eq!(world.switches(), 0, "{:#?}", world.status());
            assert_eq!(states(&world), [State::Up; 2]);
            world.far_ends().dead = None;
            world.run_until(world.elapsed() + seconds(403.7));
        }
        assert_eq!(world.switches(), 0);
        assert_eq!(world.changes("a") + world.changes("b"), 2);
    }
}

#[test]
fn a_witness_that_fails_once_by_chance_delays_a_failover_by_no_more_than_a_few_runs() {
    let mut world = world(
        2,
        &format!("{HTTP}\nevery = \"60s\"\ntimeout = \"1s\"\nfall = 2"),
    );
    let cut = world.elapsed();
    fail(&mut world, "a", Cause::Timeout, "nothing comes back");
    world.far_ends().unlucky = Some("b".to_owned());
    let fell = when(&mut world, 0, State::Down, seconds(150.0));
    assert_eq!(world.far_ends().unlucky, None);
    assert!(fell < cut + seconds(60.0 + 60.0 + 8.0), "{fell:?} {cut:?}");
    assert_eq!(world.changes("b"), 1);
}

#[test]
fn the_others_are_not_flooded_with_questions() {
    let mut world = world(20, &format!("{HTTP}\nevery = \"10s\""));
    let regular = 20.0 * 60.0;
    world.run_until(seconds(100.0));
    fail(&mut world, "c", Cause::Timeout, "nothing comes back");
    let before = world.far_ends().begun.len();
    world.run_until(seconds(100.0 + 600.0));
    assert_eq!(states(&world)[2], State::Down);
    let runs = (world.far_ends().begun.len() - before) as f64;
    assert!(runs < regular + 20.0, "{runs}");
    world.far_ends().dead = Some(Cause::Timeout);
    let before = world.far_ends().begun.len();
    world.run_until(seconds(100.0 + 1200.0));
    assert_eq!(world.switches(), 0);
    let runs = (world.far_ends().begun.len() - before) as f64;
    assert!(runs < regular + 100.0, "{runs}");
}
