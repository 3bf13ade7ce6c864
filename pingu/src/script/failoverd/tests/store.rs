//! All paths together.

use super::*;
use crate::script::failoverd::store::{Changes, PATHS_MAX, Store};

fn store(keys: &[&PathKey]) -> (Store, Instant) {
    let mut store = Store::new(Duration::from_secs(10));
    let now = Instant::now();
    for key in keys {
        store.start((*key).clone(), now).expect("few");
    }
    (store, now)
}

#[test]
fn ties_go_to_the_path_that_was_started_first() {
    let [late, early] = [path("192.0.2.1"), path("198.51.100.1")];
    let (mut store, now) = store(&[&early, &late]);
    assert_eq!(store.lowest_loss(now).expect("two").key, early);
    for key in [&late, &early] {
        store.record(&outcome(key, ms(1)), now);
    }
    assert_eq!(store.lowest_loss(now).expect("two").key, early);
    store.record(&outcome(&early, Err(Loss::NoReply)), now);
    assert_eq!(store.lowest_loss(now).expect("two").key, late);
}

#[test]
fn a_path_of_which_nothing_is_known_has_lost_nothing() {
    let [unknown, known] = [path("192.0.2.1"), path("192.0.2.2")];
    let (mut store, now) = store(&[&unknown, &known]);
    store.record(&outcome(&known, ms(1)), now);
    assert_eq!(store.lowest_loss(now).expect("two").key, unknown);
    store.record(&outcome(&unknown, Err(Loss::NoReply)), now);
    assert_eq!(store.lowest_loss(now).expect("two").key, known);
}

#[test]
fn one_destination_over_two_interfaces_is_two_paths() {
    let [first, second] = ["eth0", "eth1"].map(|name| path_by("192.0.2.1", name));
    let (mut store, now) = store(&[&first, &second]);
    store.record(&outcome(&first, Err(Loss::NoReply)), now);
    store.record(&outcome(&second, ms(1)), now);
    let address = first.destination;
    assert_eq!(
        store
            .get(address, Some("eth0"), now)
            .expect("it")
            .loss_percent,
        100.0
    );
    assert_eq!(
        store
            .get(address, Some("eth1"), now)
            .expect("it")
            .loss_percent,
        0.0
    );
    assert_eq!(store.get(address, None, now).expect("the first").key, first);
    assert!(store.get(address, Some("eth2"), now).is_none());
    assert_eq!(store.stop(address, Some("eth0")), 1);
    assert_eq!(
        store.get(address, None, now).expect("the other").key,
        second
    );
    assert_eq!(store.stop(address, None), 1);
    assert_eq!(store.len(), 0);
}

#[test]
fn a_path_is_found_by_the_address_that_its_probes_leave_with() {
    let key = path_by("192.0.2.1", "eth0");
    let (mut store, now) = store(&[&key]);
    assert!(store.get(key.destination, Some("192.0.2.9"), now).is_none());
    let mut known = outcome(&key, ms(1));
    known.source = Some("192.0.2.9".parse().unwrap());
    store.record(&known, now);
    assert!(store.get(key.destination, Some("192.0.2.9"), now).is_some());
}

#[test]
fn what_became_of_a_stopped_paths_probes_is_not_wanted() {
    let key = path("192.0.2.1");
    let (mut store, now) = store(&[&key]);
    let old = outcome(&key, Err(Loss::NoReply));
    store.stop(key.destination, None);
    assert_eq!(store.record(&old, now), None);
    let later = old.sent_at + Duration::from_millis(1);
    assert!(store.start(key.clone(), later).expect("one"));
    assert_eq!(
        store.record(&old, later),
        None,
        "it was sent by the earlier run"
    );
    assert_eq!(store.lowest_loss(later).expect("one").count, 0);
}

#[test]
fn there_are_no_more_paths_than_there_may_be() {
    let (mut store, now) = store(&[]);
    for number in 0..PATHS_MAX as u32 {
        let key = path(&std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string());
        assert!(store.start(key, now).expect("room"));
    }
    assert!(store.start(path("192.0.2.1"), now).is_err());
    assert!(!store.start(path("10.0.0.0"), now).expect("it runs already"));
}

#[test]
fn the_prober_hears_of_what_was_started_in_order_and_of_what_was_stopped() {
    let [first, second, third] = ["192.0.2.3", "192.0.2.1", "192.0.2.2"].map(path);
    let (mut store, now) = store(&[&first, &second, &third]);
    let changes = store.take_changes(2);
    assert_eq!(changes.start, [first.clone(), second.clone()]);
    assert!(changes.are_more);
    store.stop(third.destination, None);
    store.stop(first.destination, None);
    let changes = store.take_changes(2);
    assert_eq!((changes.start, changes.stop), (vec![], vec![first.clone()]));
    store.stop(second.destination, None);
    store.start(second, now).expect("one");
    assert_eq!(store.take_changes(2), Changes::default(), "it goes on");
}
