//! Whatever arrives in whatever order, each probe has one outcome.

use std::{collections::HashMap, net::Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::engine::test_clock;

const MS: Duration = Duration::from_millis(1);
const TIMEOUT: Duration = Duration::from_millis(100);
const TARGET: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

fn flight(sequence: u16, sent: Instant) -> Flight {
    Flight {
        place: Place::default(),
        due: sent,
        sent,
        sent_ns: 0,
        target: TARGET,
        sequence,
        ident: 7,
        cookie: [sequence.into(), 2, 3, 4],
        source: None,
        ifindex: None,
        framed: false,
    }
}

fn depart(flights: &mut Flights, flight: Flight) -> Number {
    let number = flights.number().unwrap();
    flights.depart(flight);
    number
}

fn echo_of(number: Number, flight: &Flight) -> Echo {
    Echo {
        ident: flight.ident,
        sequence: flight.sequence,
        payload: Payload {
            slot: number.0,
            cookie: flight.cookie,
        },
        target: flight.target,
        ifindex: Some(3),
    }
}

#[test]
fn only_what_is_right_in_everything_is_its_reply() {
    let start = test_clock();
    let mut flights = Flights::new(TIMEOUT);
    let bound = Flight {
        ifindex: Some(3),
        ..flight(1, start)
    };
    let number = depart(&mut flights, bound.clone());
    let right = echo_of(number, &bound);
    let wrong = [
        Echo { ident: 8, ..right },
        Echo {
            sequence: 2,
            ..right
        },
        Echo {
            target: Ipv4Addr::new(192, 0, 2, 3).into(),
            ..right
        },
        Echo {
            ifindex: Some(4),
            ..right
        },
        Echo {
            payload: Payload {
                slot: number.0 + 1,
                ..right.payload
            },
            ..right
        },
        Echo {
            payload: Payload {
                cookie: [1, 2, 3, 5],
                ..right.payload
            },
            ..right
        },
    ];
    for echo in wrong {
        assert_eq!(flights.find(&echo), None, "{echo:?}");
    }
    assert_eq!(flights.find(&right), Some((number, &bound)));
    assert_eq!(flights.land(number), Some(bound));
    assert_eq!(flights.find(&right), None, "once");
}

#[test]
fn a_probe_expires_at_its_timeout_and_its_late_reply_is_nobodys() {
    let start = test_clock();
    let mut flights = Flights::new(TIMEOUT);
    let first = flight(1, start);
    let number = depart(&mut flights, first.clone());
    assert_eq!(flights.next_deadline(), Some(start + TIMEOUT));
    assert_eq!(flights.expire(start + 99 * MS), None);
    assert_eq!(
        flights.expire(start + TIMEOUT),
        Some((number, first.clone()))
    );
    assert_eq!(flights.next_deadline(), None);
    let second = flight(2, start + TIMEOUT);
    let again = depart(&mut flights, second.clone());
    assert_eq!(again, number, "the number is free");
    assert_eq!(flights.find(&echo_of(number, &first)), None);
    assert!(flights.find(&echo_of(number, &second)).is_some());
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Send,
    /// The reply to the probe of this number, modulo their count, whether in flight or not.
    Reply(usize),
    Pass(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        Just(Deed::Send),
        any::<usize>().prop_map(Deed::Reply),
        (0_u64..60_000).prop_map(Deed::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn each_probe_has_exactly_one_outcome(deeds in prop::collection::vec(deed(), 1..300)) {
        let start = test_clock();
        let mut flights = Flights::new(TIMEOUT);
        let mut now = start;
        let mut sent: Vec<(Number, Flight)> = Vec::new();
        let mut outcomes: HashMap<u16, usize> = HashMap::new();
        for deed in deeds {
            match deed {
                Deed::Send => {
                    let flight = flight(sent.len() as u16, now);
                    let number = depart(&mut flights, flight.clone());
                    sent.push((number, flight));
                }
                Deed::Reply(which) if !sent.is_empty() => {
                    let (number, flight) = &sent[which % sent.len()];
                    let in_time = now - flight.sent < TIMEOUT;
                    if let Some((found, _)) = flights.find(&echo_of(*number, flight)) {
                        prop_assert!(in_time);
                        prop_assert_eq!(found, *number);
                        let landed = flights.land(found).unwrap();
                        *outcomes.entry(landed.sequence).or_default() += 1;
                    } else {
                        prop_assert!(outcomes.contains_key(&flight.sequence));
                    }
                }
                Deed::Reply(_) => {}
                Deed::Pass(us) => {
                    now += Duration::from_micros(us);
                    while let Some((_, lost)) = flights.expire(now) {
                        prop_assert!(now - lost.sent >= TIMEOUT);
                        *outcomes.entry(lost.sequence).or_default() += 1;
                    }
                }
            }
            prop_assert_eq!(flights.len() + outcomes.len(), sent.len());
        }
        while flights.expire(now + TIMEOUT).map(|(_, lost)| {
            *outcomes.entry(lost.sequence).or_default() += 1;
        }).is_some() {}
        prop_assert_eq!(outcomes.len(), sent.len());
        prop_assert!(outcomes.iter().all(|(_, count)| *count == 1));
    }
}
