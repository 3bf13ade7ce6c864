//! Directions against a faked reflector whose every loss is known.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    engine::test_clock,
    probe::{LinkHeader, Remarks},
    units::Ifindex,
};

const TIMEOUT: Duration = Duration::from_secs(1);
const SPACING: Duration = Duration::from_millis(100);
const SLOTS: u32 = 40;
const RTT_NS: u64 = 10_000_000;
/// The two clocks lie this far apart.
const CLOCKS_NS: u64 = 0x7000_0000_0000_0000;

/// What becomes of a probe on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Whole,
    LostThere,
    LostBack,
    /// Its reply comes after its timeout.
    Late,
    /// The kernel refuses it.
    NotSent,
    /// It vanishes before the egress hook.
    Vanishes,
    /// The kernel at the other end echoes it.
    Echoed,
}

/// When a slot's probe left, when its reply is there, and what that says.
type Slot = (Option<u64>, Option<u64>, Option<Reflection>);

/// A path, its network and the reflector behind it.
struct Story {
    directions: Directions,
    start: Instant,
    now: Instant,
    next_slot: u32,
    slots: BTreeMap<SlotId, Slot>,
    /// The reflector's count.
    count: u32,
    sent: u64,
    lost_there: u64,
    lost_back: u64,
}

impl ProbeTransport for Story {
    fn send(&mut self, _: &[ProbeOrder], _: &mut Vec<SendResult>) {}

    fn read(&self, slot: SlotId) -> Stamps {
        let now_ns = self.ns();
        let (sent_ns, received_ns, _) = self.slots[&slot];
        Stamps {
            sent_ns,
            received_ns: received_ns.filter(|&at| at <= now_ns),
        }
    }

    fn remarks(&self, slot: SlotId) -> Remarks {
        Remarks {
            reflection: self.slots[&slot].2,
            ..Remarks::default()
        }
    }
}

impl Story {
    fn new(count: u32) -> Self {
        let start = test_clock();
        Self {
            directions: Directions::new(7, start),
            start,
            now: start,
            next_slot: 0,
            slots: BTreeMap::new(),
            count,
            sent: 0,
            lost_there: 0,
            lost_back: 0,
        }
    }

    fn ns(&self) -> u64 {
        1 + (self.now - self.start).as_nanos() as u64
    }

    fn probe(&mut self, way: Way) {
        self.collect();
        let slot = SlotId(self.next_slot);
        self.next_slot = (self.next_slot + 1) % SLOTS;
        let mut orders = [order(slot)];
        self.directions.ordered(&mut orders, self.now);
        assert_eq!(orders[0].reflect, Some(7));
        let result = match way {
            Way::NotSent => SendResult::NotSent(libc::ENOBUFS),
            _ => SendResult::Sent,
        };
        self.directions.sent(&[result]);
        let sent_ns = self.ns();
        let arrives = matches!(way, Way::Whole | Way::LostBack | Way::Late);
        if arrives {
            self.count = self.count.wrapping_add(1);
        }
        let reflection = Reflection {
            received_ns: (sent_ns + RTT_NS / 2).wrapping_add(CLOCKS_NS),
            sent_ns: (sent_ns + RTT_NS / 2 + 300).wrapping_add(CLOCKS_NS),
            requests: self.count,
        };
        let in_time = sent_ns + RTT_NS;
        let entry = match way {
            Way::Whole => (Some(sent_ns), Some(in_time), Some(reflection)),
            Way::Late => {
                let late = in_time + 2 * TIMEOUT.as_nanos() as u64;
                (Some(sent_ns), Some(late), Some(reflection))
            }
            Way::LostThere | Way::LostBack => (Some(sent_ns), None, None),
            Way::NotSent | Way::Vanishes => (None, None, None),
            Way::Echoed => (Some(sent_ns), Some(in_time), None),
        };
        self.slots.insert(slot, entry);
        self.sent += u64::from(matches!(
            way,
            Way::Whole | Way::LostThere | Way::LostBack | Way::Late
        ));
        self.lost_there += u64::from(way == Way::LostThere);
        self.lost_back += u64::from(way == Way::LostBack);
        self.now += SPACING;
    }

    fn collect(&mut self) {
        let mut directions =
            std::mem::replace(&mut self.directions, Directions::new(0, self.start));
        directions.collect(self);
        self.directions = directions;
    }

    /// Lets everything come that will, and asks.
    fn status(&mut self) -> Option<DirectionsStatus> {
        self.now += 4 * TIMEOUT;
        self.collect();
        self.directions.status(TIMEOUT, self.now)
    }
}

fn order(slot: SlotId) -> ProbeOrder {
    ProbeOrder {
        slot,
        ifindex: Ifindex(2),
        link: LinkHeader::Bare,
        source: [192, 0, 2, 1].into(),
        target: [192, 0, 2, 2].into(),
        ident: 1,
        sequence: 1,
        payload_bytes: 56,
        reflect: None,
    }
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![
        4 => Just(Way::Whole),
        1 => Just(Way::LostThere),
        1 => Just(Way::LostBack),
        1 => Just(Way::Late),
        1 => Just(Way::NotSent),
        1 => Just(Way::Vanishes),
        1 => Just(Way::Echoed),
    ]
}

proptest! {
    #[test]
    fn every_loss_between_two_replies_is_told_of_its_direction(
        ways in prop::collection::vec(way(), 0..150), begin: u32,
    ) {
        let mut story = Story::new(begin);
        // The first reply is where the story begins, the last where it ends.
        story.probe(Way::Whole);
        for way in ways {
            story.probe(way);
        }
        story.probe(Way::Whole);
        let status = story.status().expect("there are replies");
        prop_assert_eq!(status.of, story.sent - 1);
        prop_assert_eq!(status.forward_lost, story.lost_there);
        prop_assert_eq!(status.backward_lost, story.lost_back);
        prop_assert_eq!(status.untold, 0);
        prop_assert_eq!(status.reflector_us, Some(0.3));
        prop_assert_eq!(status.forward_delay_rise_us, Some(0.0));
    }

    #[test]
    fn whatever_a_reflector_counts_the_numbers_add_up(
        counts in prop::collection::vec(prop::option::of(any::<u32>()), 0..300), near in any::<bool>(),
    ) {
        let mut story = Story::new(0);
        let mut returned = 0_u64;
        for (index, count) in counts.iter().enumerate() {
            match count {
                Some(count) => {
                    // Anything, or something that is nearly right.
                    story.count = if near { (index as u32).wrapping_add(count % 64) } else { *count };
                    story.probe(Way::Whole);
                    returned += 1;
                }
                None => story.probe(Way::LostBack),
            }
        }
        if let Some(status) = story.status() {
            prop_assert!(status.forward_lost + status.backward_lost <= status.of);
            prop_assert!(status.of <= counts.len() as u64);
            prop_assert!(status.of - status.forward_lost - status.backward_lost <= returned);
            for percent in [status.forward_loss_percent, status.backward_loss_percent].into_iter().flatten() {
                prop_assert!((0.0..=100.0).contains(&percent));
            }
        }
    }

    #[test]
    fn a_reflector_that_begins_anew_is_not_taken_for_losses(
        before in 1_usize..100, after in 1_usize..100, lost in 0_usize..100, begin: u32, again: u32,
    ) {
        let mut story = Story::new(begin);
        (0..before).for_each(|_| story.probe(Way::Whole));
        (0..lost).for_each(|_| story.probe(Way::LostThere));
        prop_assume!(again.wrapping_sub(story.count).wrapping_add(2000) > 4000);
        story.count = again;
        (0..after).for_each(|_| story.probe(Way::Whole));
        let status = story.status().expect("there are replies");
        prop_assert_eq!((status.forward_lost, status.backward_lost), (0, 0));
    }
}

#[test]
fn an_outage_tells_its_direction_with_the_first_reply_after_it() {
    for (way, forward, backward) in [
        (Way::LostThere, Some(100.0), None),
        (Way::LostBack, None, Some(100.0)),
    ] {
        let mut story = Story::new(u32::MAX - 500);
        story.probe(Way::Whole);
        for _ in 0..1_000 {
            story.probe(way);
        }
        let during = story.status().expect("there was a reply");
        assert_eq!(
            (during.of, during.untold),
            (0, 1_000),
            "nothing is known yet"
        );
        assert_eq!(during.fault, None);
        story.probe(Way::Whole);
        let status = story.status().expect("there are replies");
        assert_eq!(status.of, 1_001);
        let near = |percent: Option<f64>, wanted: Option<f64>| {
            (percent.unwrap_or(0.0) - wanted.unwrap_or(0.0)).abs() < 0.2
        };
        assert!(near(status.forward_loss_percent, forward), "{status:?}");
        assert!(near(status.backward_loss_percent, backward), "{status:?}");
        // It is forgotten with the probes that it fell upon.
        for _ in 0..PROBES {
            story.probe(Way::Whole);
        }
        let status = story.status().expect("there are replies");
        assert_eq!((status.forward_lost, status.backward_lost), (0, 0));
        assert_eq!(status.fault, None);
    }
}

#[test]
fn requests_that_overtake_each_other_are_not_lost() {
    let mut story = Story::new(100);
    for pair in 0..100 {
        // The second of two arrives first.
        story.count = 100 + 2 * pair + 1;
        story.probe(Way::Whole);
        story.count = 100 + 2 * pair;
        story.probe(Way::Whole);
    }
    let status = story.status().expect("there are replies");
    assert_eq!(
        (status.forward_lost, status.backward_lost),
        (0, 0),
        "{status:?}"
    );
}

#[test]
fn what_is_still_on_its_way_is_not_lost() {
    let mut story = Story::new(5);
    story.probe(Way::Whole);
    story.probe(Way::LostBack);
    story.probe(Way::Whole);
    story.now += Duration::from_millis(20);
    story.collect();
    let status = story.directions.status(TIMEOUT, story.now);
    assert_eq!(
        status.map(|status| (status.of, status.untold)),
        Some((0, 0))
    );
    let status = story.status().expect("there are replies");
    assert_eq!((status.of, status.backward_lost), (2, 1));
    assert_eq!(status.backward_loss_percent, Some(50.0));
}

#[test]
fn an_ordinary_target_tells_nothing() {
    let mut story = Story::new(5);
    (0..300).for_each(|_| story.probe(Way::Echoed));
    assert_eq!(story.status(), None);
}

#[test]
fn a_way_that_takes_longer_than_before_is_seen() {
    let mut story = Story::new(5);
    (0..50).for_each(|_| story.probe(Way::Whole));
    for _ in 0..20 {
        story.probe(Way::Whole);
        let slot = SlotId((story.next_slot + SLOTS - 1) % SLOTS);
        let (_, received, reflection) = story.slots.get_mut(&slot).unwrap();
        // The way there takes 3 ms more, the way back as long as ever.
        *received = received.map(|at| at + 3_000_000);
        let reflection = reflection.as_mut().unwrap();
        reflection.received_ns = reflection.received_ns.wrapping_add(3_000_000);
        reflection.sent_ns = reflection.sent_ns.wrapping_add(3_000_000);
    }
    let status = story.status().expect("there are replies");
    assert_eq!(status.forward_delay_rise_us, Some(3_000.0));
    assert_eq!(status.backward_delay_rise_us, Some(0.0));
}

#[test]
fn the_fault_names_the_direction() {
    let told = |forward_lost, backward_lost| {
        let mut count = Count::new(None);
        count.take(0);
        let arrived = 200 - forward_lost;
        let mut status = DirectionsStatus {
            of: 200,
            forward_lost,
            backward_lost,
            ..count.status()
        };
        status.forward_loss_percent = Some(forward_lost as f64 / 2.0);
        status.backward_loss_percent = Some(backward_lost as f64 * 100.0 / arrived as f64);
        status.describe()
    };
    assert_eq!(told(0, 0), None);
    assert_eq!(told(1, 1), None, "too few to name a direction");
    assert_eq!(
        told(0, 80).as_deref(),
        Some("requests arrive, replies are lost on the way back: 40 % of 200")
    );
    assert_eq!(
        told(60, 0).as_deref(),
        Some("requests are lost on the way there: 30 % of 200")
    );
    assert_eq!(
        told(100, 50).as_deref(),
        Some(
            "both directions lose: 50 % of 200 requests on the way there, 50 % of 100 replies on the way back"
        )
    );
}
