//! A probe that was given an interface leaves by it and by no other.

use std::time::Duration;

use pingu::script::probe::{Loss, Origin};

use crate::harness::{Site, TARGET, address, by, drive, pace, path};

#[test]
fn it_leaves_by_its_interface_although_the_default_leads_elsewhere() {
    for privileged in [false, true] {
        let site = Site::new();
        site.count_requests(0, None);
        site.count_requests(1, None);
        // A default that nobody else uses.
        site.router
            .ip("route add default via 192.0.1.1 dev eth1 metric 500")
            .unwrap();
        let outcomes = drive(
            &site,
            pace(privileged, 50, 2_000),
            vec![path(TARGET, by("eth1"))],
            |driver| driver.take(20),
        );
        for outcome in outcomes {
            assert!(outcome.result.is_ok(), "{outcome:?}");
            assert_eq!(outcome.source, Some(address("192.0.1.2")));
        }
        assert_eq!(site.counted(0).0, 0);
        assert!(site.counted(1).0 >= 20);
    }
}

#[test]
fn one_target_over_two_interfaces_at_once_is_two_paths() {
    for privileged in [false, true] {
        let site = Site::new();
        site.count_requests(0, None);
        site.count_requests(1, Some("numgen inc mod 2 < 1"));
        // The way of policy routing: a table that only the address leads to.
        site.router
            .ip("route add default via 192.0.1.1 dev eth1 table 7")
            .unwrap();
        site.router.ip("rule add from 192.0.1.2 table 7").unwrap();
        let outcomes = drive(
            &site,
            pace(privileged, 40, 300),
            vec![path(TARGET, by("eth0")), path(TARGET, by("eth1"))],
            |driver| driver.take(100),
        );
        let share = |name: &str| {
            let of_path: Vec<_> = outcomes
                .iter()
                .filter(|outcome| outcome.path.origin == by(name))
                .collect();
            let answered = of_path.iter().filter(|outcome| outcome.result.is_ok());
            (answered.count(), of_path.len())
        };
        let (answered, of) = share("eth0");
        assert_eq!(answered, of);
        let (answered, of) = share("eth1");
        assert!(
            of > 30 && answered.abs_diff(of / 2) <= 8,
            "{answered} of {of}"
        );
        assert!(site.counted(0).0 > 30 && site.counted(1).0 > 30);
    }
}

#[test]
fn without_a_route_by_it_nothing_leaves_by_another() {
    let site = Site::new();
    site.count_requests(0, None);
    site.count_requests(1, None);
    let outcomes = drive(
        &site,
        pace(false, 20, 300),
        vec![
            path(TARGET, by("eth1")),
            path(TARGET, by("eth7")),
            path("192.0.1.1", by("eth1")),
            path("127.0.0.1", by("lo")),
            path("192.0.1.2", by("eth1")),
        ],
        |driver| driver.take(50),
    );
    for outcome in outcomes {
        match (outcome.path.destination, &outcome.path.origin) {
            (destination, _) if destination != address(TARGET) => {
                assert!(outcome.result.is_ok(), "no way to go: {outcome:?}");
            }
            (_, Origin::Interface(name)) if name == "eth7" => {
                assert_eq!(outcome.result, Err(Loss::NoSource));
            }
            _ => assert_eq!(outcome.result, Err(Loss::NotSent(libc::ENETUNREACH))),
        }
    }
    assert_eq!(site.counted(0).0, 0);
    let (reached, _) = site.counted(1);
    assert!(reached <= 15, "only those to the gateway itself: {reached}");
}

#[test]
fn an_interface_is_followed_by_name_when_it_is_made_anew() {
    for privileged in [false, true] {
        let site = Site::new();
        let before = site.router.ifindex("eth1").unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let (answer, answered) = std::sync::mpsc::channel::<()>();
        let namespace = site.router.file().unwrap();
        let driver = std::thread::spawn(move || {
            crate::harness::enter(&namespace);
            let paths = [path("192.0.1.1", by("eth1"))];
            let mut driver = crate::harness::Driver::new(pace(privileged, 20, 500), &paths);
            driver.until(|outcome| outcome.result.is_ok());
            tell.send("up").unwrap();
            driver.until(|outcome| outcome.result == Err(Loss::NoSource));
            tell.send("gone").unwrap();
            answered.recv().unwrap();
            driver.until(|outcome| outcome.result.is_ok());
            driver.during(Duration::from_millis(100))
        });
        assert_eq!(told.recv().unwrap(), "up");
        site.router.ip("link delete eth1").unwrap();
        assert_eq!(told.recv().unwrap(), "gone");
        site.connect(1);
        assert_ne!(site.router.ifindex("eth1").unwrap(), before);
        answer.send(()).unwrap();
        let outcomes = driver.join().unwrap();
        assert!(outcomes.len() >= 2);
        assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
    }
}
