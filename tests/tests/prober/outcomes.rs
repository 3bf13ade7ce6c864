//! Each probe has one outcome, and it is the truth.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pingu::script::{
    probe::{Loss, Origin},
    prober::{Prober, ProberError},
};

use pingu_tests::lab::{packet, raw_socket::RawSocket};

use crate::harness::{Site, TARGET, TARGET_V6, address, by, drive, from, pace, path};

#[test]
fn every_kind_of_socket_and_origin_answers_in_both_families() {
    let site = Site::new();
    for privileged in [false, true] {
        let paths = vec![
            path(TARGET, Origin::Any),
            path(TARGET, from("192.0.0.2")),
            path(TARGET, by("eth0")),
            path(TARGET_V6, Origin::Any),
            path(TARGET_V6, from("2001:db8::2")),
            path(TARGET_V6, by("eth0")),
            path("127.0.0.1", Origin::Any),
            path("::1", Origin::Any),
        ];
        let count = paths.len();
        let outcomes = drive(
            &site,
            pace(privileged, 200, 2_000),
            paths.clone(),
            move |driver| driver.take(3 * count),
        );
        for outcome in &outcomes {
            let rtt = outcome
                .result
                .unwrap_or_else(|loss| panic!("{loss:?} of {outcome:?}"));
            assert!(rtt > Duration::ZERO && rtt < Duration::from_secs(2));
            let destination = outcome.path.destination;
            let source = if destination == address(TARGET) {
                address("192.0.0.2")
            } else if destination == address(TARGET_V6) {
                address("2001:db8::2")
            } else {
                destination
            };
            assert_eq!(outcome.source, Some(source), "{outcome:?}");
        }
        for path in paths {
            let of_path = outcomes.iter().filter(|outcome| outcome.path == path);
            let count = of_path.count();
            assert!((2..=4).contains(&count), "{count} of {path:?}");
        }
    }
}

#[test]
fn refused_sockets_name_what_is_missing() {
    let site = Site::new();
    site.router
        .sysctl("net.ipv4.ping_group_range", "1 0")
        .unwrap();
    let refused = site
        .router
        .run(|| Prober::new(pace(false, 1_000, 1_000)).map(drop));
    let error = refused.unwrap_err();
    assert!(matches!(error, ProberError::EchoSocket(_)));
    assert!(error.to_string().contains("net.ipv4.ping_group_range"));
}

#[test]
fn loss_is_exactly_what_the_peer_dropped() {
    for privileged in [false, true] {
        let site = Site::new();
        site.count_requests(0, Some("numgen inc mod 7 < 2"));
        let outcomes = drive(
            &site,
            pace(privileged, 10, 300),
            vec![path(TARGET, Origin::Any)],
            |driver| {
                let outcomes = driver.take(200);
                let destination = outcomes[0].path.destination;
                driver.prober.stop(destination, None);
                outcomes
            },
        );
        // Probes that were in flight at the end were counted there, too: count until the last that was heard of.
        let lost = outcomes.iter().filter(|outcome| outcome.result.is_err());
        assert!(
            lost.clone()
                .all(|outcome| outcome.result == Err(Loss::NoReply))
        );
        let last = outcomes
            .iter()
            .map(|outcome| outcome.sent_at)
            .max()
            .unwrap();
        let settled: Vec<_> = outcomes.iter().filter(|o| o.sent_at <= last).collect();
        let mut times: Vec<_> = settled.iter().map(|outcome| outcome.sent_at).collect();
        times.sort();
        times.dedup();
        assert_eq!(times.len(), settled.len(), "one outcome a slot");
        let mut in_order: Vec<_> = outcomes.iter().collect();
        in_order.sort_by_key(|outcome| outcome.sent_at);
        // Every seventh and its next is dropped, in the order in which they were sent. Those before the last lost one are all told.
        let until = in_order
            .iter()
            .rposition(|outcome| outcome.result.is_err())
            .unwrap();
        for (index, outcome) in in_order[..=until].iter().enumerate() {
            assert_eq!(
                outcome.result.is_err(),
                index % 7 < 2,
                "{index}: {outcome:?}"
            );
        }
        assert!(until > 100);
    }
}

#[test]
fn a_late_reply_is_a_lost_probe_and_nothing_more() {
    let site = Site::new();
    // A queue that holds what comes for longer than the timeout: 100 bytes in a quarter of a second.
    site.providers[0]
        .command("tc qdisc add dev wan root tbf rate 4kbit burst 200 limit 100000")
        .unwrap();
    site.count_requests(0, None);
    let outcomes = drive(
        &site,
        pace(false, 50, 100),
        vec![path(TARGET, Origin::Any)],
        |driver| driver.take(30),
    );
    let mut by_slot: HashMap<_, usize> = HashMap::new();
    for outcome in &outcomes {
        *by_slot.entry(outcome.sent_at).or_default() += 1;
    }
    assert!(by_slot.values().all(|count| *count == 1), "{by_slot:?}");
    let lost = outcomes
        .iter()
        .filter(|outcome| outcome.result == Err(Loss::NoReply));
    assert!(lost.count() >= 20, "{outcomes:?}");
    assert!(site.counted(0).0 >= 28, "all requests arrived");
}

#[test]
fn errors_that_quote_the_probe_end_it_at_once() {
    for privileged in [false, true] {
        let site = Site::new();
        site.providers[0]
            .ip("route add prohibit 203.0.113.9")
            .unwrap();
        site.providers[0]
            .sysctl("net.ipv4.ip_forward", "1")
            .unwrap();
        site.providers[0]
            .sysctl("net.ipv4.icmp_ratemask", "0")
            .unwrap();
        let outcomes = drive(
            &site,
            pace(privileged, 100, 5_000),
            vec![path("203.0.113.9", Origin::Any), path(TARGET, Origin::Any)],
            |driver| driver.take(20),
        );
        for outcome in outcomes {
            if outcome.path.destination == address(TARGET) {
                assert!(outcome.result.is_ok(), "{outcome:?}");
            } else {
                let expected = Loss::Error { kind: 3, code: 13 };
                assert_eq!(outcome.result, Err(expected), "{outcome:?}");
            }
        }
    }
}

#[test]
fn a_next_hop_that_does_not_answer_is_told_as_such() {
    let site = Site::new();
    let outcomes = drive(
        &site,
        pace(false, 1_000, 10_000),
        vec![path("192.0.0.77", Origin::Any)],
        |driver| driver.take(1),
    );
    assert_eq!(outcomes[0].result, Err(Loss::NoNeighbour));
}

/// Answers each request that reaches a provider, which does not answer itself, as it is told to.
fn answer_by_hand(
    site: &Site,
    mut answers: impl FnMut(Vec<u8>, &mut dyn FnMut(&[u8])) + Send + 'static,
) -> impl Drop {
    struct Stop(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);
    impl Drop for Stop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
            if let Some(thread) = self.1.take() {
                thread.join().unwrap();
            }
        }
    }
    let provider = &site.providers[0];
    provider
        .sysctl("net.ipv4.icmp_echo_ignore_all", "1")
        .unwrap();
    let ifindex = provider.ifindex("wan").unwrap();
    let socket =
        provider.run(move || RawSocket::frames(ifindex, Duration::from_millis(20)).unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let thread = std::thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while !stopped.load(Ordering::Relaxed) {
            let Some(frame) = socket.receive(&mut buffer).unwrap() else {
                continue;
            };
            let request = packet::echo(&frame[packet::ETHERNET_BYTES..]);
            if request.is_none_or(|echo| echo.reply) {
                continue;
            }
            let mut reply = frame.to_vec();
            let (first, second) = reply.split_at_mut(6);
            first.swap_with_slice(&mut second[..6]);
            packet::turn_around(&mut reply[packet::ETHERNET_BYTES..]);
            answers(reply, &mut |frame| socket.send(frame).unwrap());
        }
    });
    Stop(stop, Some(thread))
}

#[test]
fn forged_and_corrupt_replies_count_for_nothing_and_duplicates_once() {
    /// Where the cookie begins: behind Ethernet, IPv4 and ICMP headers and the slot.
    const COOKIE: usize = 14 + 20 + 8 + 4;
    for privileged in [false, true] {
        let site = Site::new();
        let mut turn = 0;
        let answering = answer_by_hand(&site, move |reply, send| {
            let changed = |at: usize, fix: bool| {
                let mut changed = reply.clone();
                changed[at] ^= 1;
                if fix {
                    packet::fix_icmp_checksum(&mut changed[packet::ETHERNET_BYTES..]);
                }
                changed
            };
            turn += 1;
            match turn % 4 {
                0 => (0..3).for_each(|_| send(&reply)),
                // Another word of the cookie each, then the sequence, then no right checksum.
                1 => (0..4).for_each(|word| send(&changed(COOKIE + 4 * word, true))),
                2 => send(&changed(14 + 20 + 7, true)),
                _ => send(&changed(COOKIE + 16, false)),
            }
        });
        let outcomes = drive(
            &site,
            pace(privileged, 100, 300),
            vec![path(TARGET, Origin::Any)],
            |driver| driver.take(20),
        );
        drop(answering);
        let mut in_order: Vec<_> = outcomes.iter().collect();
        in_order.sort_by_key(|outcome| outcome.sent_at);
        let answered: Vec<bool> = in_order
            .iter()
            .map(|outcome| outcome.result.is_ok())
            .collect();
        // The last ones may still wait for their end.
        let expected: Vec<bool> = (1..=15).map(|turn| turn % 4 == 0).collect();
        assert_eq!(answered[..15], expected, "privileged {privileged}");
    }
}
