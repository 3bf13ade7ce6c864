//! Why probes of a path were not answered, counted by cause; and what else was seen of them.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::{
    probe::{IcmpError, Remarks},
    units::{Ifindex, SlotId},
};

pub(crate) mod status;
pub(crate) mod words;

/// So many distinct details (senders of errors, interfaces, error numbers) a path tells apart; the rest count together, cause by cause. An
/// attacker must not make the list grow.
const DETAILS_MAX: usize = 16;

/// Why a probe was not answered in time, or what else happened to it. Every probe that is lost, late or not sent has exactly one cause;
/// `duplicate` and `forged` count packets beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CauseKind {
    /// The kernel refused to send it.
    NotSent,
    /// The next hop has no link-layer address.
    NoNeighbour,
    /// It tried to leave by another interface, and was stopped.
    WrongInterface,
    /// It was handed over and never passed the egress hook.
    Vanished,
    /// The interface's own queue dropped it, or a filter at its egress.
    DroppedLocally,
    /// It left, and nothing came back.
    NoReply,
    /// It was answered after the timeout.
    Late,
    /// Its answer came in by another interface or VLAN.
    WrongUplink,
    /// Its answer was damaged.
    Corrupt,
    /// Somebody on the way says why it did not arrive.
    IcmpError,
    /// An answer to a probe that was answered already.
    Duplicate,
    /// A packet that looks like an answer, and is not one to the probe that its slot holds: forged, another program's, or so late that
    /// the slot has been used again.
    Forged,
}

/// What tells one cause from another of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    None,
    Errno(i32),
    Interface(Ifindex),
    Icmp(IcmpError),
    /// Those for which there was no room.
    Other,
}

/// A cause, how often it was and when last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cause {
    pub(crate) kind: CauseKind,
    pub(crate) detail: Detail,
    pub(crate) count: u64,
    pub(crate) last: Instant,
}

/// A cause of this path, by its place in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CauseId(u8);

/// The causes of one path. Nothing is allocated before the first.
#[derive(Debug, Default)]
pub(crate) struct Causes(Option<Box<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    /// Never shortened: ids stay.
    list: Vec<Cause>,
    /// Probes on their way that the interface's own queue dropped, with the errno.
    dropped: Vec<(SlotId, i32)>,
    /// Duplicates and forgeries that have been counted of probes in slots that may bring more.
    packets: Vec<(SlotId, [u16; 2])>,
}

impl Causes {
    /// All of them.
    pub(crate) fn list(&self) -> &[Cause] {
        self.0.as_deref().map_or(&[], |some| &some.list)
    }

    /// One of them.
    pub(crate) fn get(&self, id: CauseId) -> &Cause {
        &self.list()[usize::from(id.0)]
    }

    /// Counts so many of one cause.
    pub(crate) fn count(
        &mut self,
        kind: CauseKind,
        detail: Detail,
        times: u64,
        now: Instant,
    ) -> CauseId {
        let list = &mut self.0.get_or_insert_default().list;
        let place = |list: &[Cause], detail| {
            let is_same = |cause: &Cause| cause.kind == kind && cause.detail == detail;
            list.iter().position(is_same)
        };
        let found = place(list, detail).map(|index| (index, detail));
        let (index, detail) = found.unwrap_or_else(|| {
            let detailed = list.iter().filter(|cause| has_detail(cause.detail));
            if has_detail(detail) && detailed.count() >= DETAILS_MAX {
                let other = place(list, Detail::Other);
                (other.unwrap_or(list.len()), Detail::Other)
            } else {
                (list.len(), detail)
            }
        });
        if index == list.len() {
            list.push(Cause {
                kind,
                detail,
                count: 0,
                last: now,
            });
        }
        list[index].count += times;
        list[index].last = now;
        CauseId(u8::try_from(index).expect("details are bounded, and causes without are few"))
    }

    /// Counts a probe that left and was not answered in time, by what was seen of it.
    pub(crate) fn lose(&mut self, slot: SlotId, remarks: &Remarks, now: Instant) -> CauseId {
        let dropped = self.take_dropped(slot);
        let (kind, detail) = match dropped {
            Some(errno) if remarks.error.is_none() => {
                (CauseKind::DroppedLocally, Detail::Errno(errno))
            }
            Some(_) | None => of_loss(remarks),
        };
        self.count(kind, detail, 1, now)
    }

    /// Counts a probe that was handed over and never stamped.
    pub(crate) fn vanish(&mut self, remarks: &Remarks, now: Instant) -> CauseId {
        let (kind, detail) = match remarks.strayed_to {
            Some(ifindex) => (CauseKind::WrongInterface, Detail::Interface(ifindex)),
            None => (CauseKind::Vanished, Detail::None),
        };
        self.count(kind, detail, 1, now)
    }

    /// What was seen since of a probe that counts as not answered: whoever says why has the last word over silence.
    pub(crate) fn amend(&mut self, id: CauseId, remarks: &Remarks, now: Instant) -> CauseId {
        let (kind, detail) = of_loss(remarks);
        if self.get(id).kind != CauseKind::NoReply || kind == CauseKind::NoReply {
            return id;
        }
        self.take_back(id);
        self.count(kind, detail, 1, now)
    }

    /// A probe that counts as lost was answered after all, late.
    pub(crate) fn turn_late(&mut self, id: CauseId, now: Instant) {
        self.take_back(id);
        self.count(CauseKind::Late, Detail::None, 1, now);
    }

    /// Notes that the interface's own queue dropped a probe: should it not be answered, that is why.
    pub(crate) fn note_dropped(&mut self, slot: SlotId, errno: i32) {
        self.take_dropped(slot);
        let some = self.0.get_or_insert_default();
        some.dropped.push((slot, errno));
    }

    /// Forgets that.
    pub(crate) fn take_dropped(&mut self, slot: SlotId) -> Option<i32> {
        let dropped = &mut self.0.as_mut()?.dropped;
        let index = dropped.iter().position(|(of, _)| *of == slot)?;
        Some(dropped.swap_remove(index).1)
    }

    /// Counts what came beside a probe since the last look at its slot. At the last look the slot is about to be used again.
    pub(crate) fn note_packets(
        &mut self,
        slot: SlotId,
        remarks: &Remarks,
        is_last: bool,
        now: Instant,
    ) {
        let seen = [remarks.duplicates, remarks.forged];
        if seen == [0; 2] && self.0.as_ref().is_none_or(|some| some.packets.is_empty()) {
            return;
        }
        let packets = &mut self.0.get_or_insert_default().packets;
        let known = packets.iter().position(|(of, _)| *of == slot);
        let before = known.map_or([0; 2], |index| packets.swap_remove(index).1);
        if !is_last && seen != [0; 2] {
            packets.push((slot, seen));
        }
        let kinds = [CauseKind::Duplicate, CauseKind::Forged];
        for ((kind, seen), before) in kinds.into_iter().zip(seen).zip(before) {
            let more = seen.saturating_sub(before);
            if more > 0 {
                self.count(kind, Detail::None, more.into(), now);
            }
        }
    }

    /// The commonest of these, and how often it is among them.
    pub(crate) fn commonest(&self, ids: impl Iterator<Item = CauseId>) -> Option<(CauseId, u32)> {
        let mut counts = vec![0_u32; self.list().len()];
        ids.for_each(|id| counts[usize::from(id.0)] += 1);
        let most = *counts.iter().max()?;
        let index = counts.iter().position(|&count| count == most)?;
        let id = CauseId(u8::try_from(index).expect("the list is short"));
        (most > 0).then_some((id, most))
    }

    /// A probe that this was counted for was answered in time.
    pub(crate) fn take_back(&mut self, id: CauseId) {
        if let Some(some) = &mut self.0 {
            some.list[usize::from(id.0)].count -= 1;
        }
    }
}

fn has_detail(detail: Detail) -> bool {
    !matches!(detail, Detail::None | Detail::Other)
}

/// Why a probe that left was not answered, by what was seen of it. A forged packet explains nothing.
fn of_loss(remarks: &Remarks) -> (CauseKind, Detail) {
    if let Some(error) = remarks.error.filter(is_final) {
        (CauseKind::IcmpError, Detail::Icmp(error))
    } else if remarks.wrong_uplink > 0 {
        let by = remarks.came_in_by.map_or(Detail::None, Detail::Interface);
        (CauseKind::WrongUplink, by)
    } else if remarks.corrupt > 0 {
        (CauseKind::Corrupt, Detail::None)
    } else {
        (CauseKind::NoReply, Detail::None)
    }
}

/// Whether an ICMP error says that the packet it quotes was not delivered: unreachable, too big, time exceeded, parameter problem. A
/// redirect or a source quench (RFC 792) does not.
pub(crate) fn is_final(error: &IcmpError) -> bool {
    if error.from.is_ipv4() {
        matches!(error.kind, 3 | 11 | 12)
    } else {
        matches!(error.kind, 1..=4)
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Duration};

    use super::*;
    use crate::engine::{Random, test_clock};

    fn error(from: [u8; 4], kind: u8, code: u8) -> Option<IcmpError> {
        let from = IpAddr::from(from);
        Some(IcmpError { from, kind, code })
    }

    #[test]
    fn no_cause_no_memory() {
        let causes = Causes::default();
        assert!(causes.0.is_none());
        assert_eq!(size_of::<Causes>(), 8);
    }

    #[test]
    fn who_says_why_goes_before_what_else_was_seen() {
        let seen = Remarks {
            corrupt: 1,
            forged: 9,
            ..Remarks::default()
        };
        assert_eq!(of_loss(&Remarks::default()).0, CauseKind::NoReply);
        assert_eq!(of_loss(&seen).0, CauseKind::Corrupt);
        let elsewhere = Remarks {
            wrong_uplink: 1,
            came_in_by: Some(Ifindex(7)),
            ..seen
        };
        assert_eq!(of_loss(&elsewhere).1, Detail::Interface(Ifindex(7)));
        let told = Remarks {
            error: error([10, 0, 0, 1], 3, 13),
            ..elsewhere
        };
        assert_eq!(of_loss(&told).0, CauseKind::IcmpError);
        let redirected = Remarks {
            error: error([10, 0, 0, 1], 5, 1),
            ..Remarks::default()
        };
        assert_eq!(of_loss(&redirected).0, CauseKind::NoReply);
    }

    #[test]
    fn a_word_that_comes_after_the_deadline_replaces_silence() {
        let (now, slot) = (test_clock(), SlotId(3));
        let mut causes = Causes::default();
        let id = causes.lose(slot, &Remarks::default(), now);
        let told = Remarks {
            error: error([10, 0, 0, 1], 3, 1),
            ..Remarks::default()
        };
        let id = causes.amend(id, &told, now + Duration::from_secs(3));
        let counts: Vec<_> = causes.list().iter().map(|c| (c.kind, c.count)).collect();
        assert_eq!(counts, [(CauseKind::NoReply, 0), (CauseKind::IcmpError, 1)]);
        causes.turn_late(id, now);
        assert_eq!(causes.get(id).count, 0);
    }

    #[test]
    fn what_the_own_queue_dropped_is_told_only_of_that_probe() {
        let now = test_clock();
        let mut causes = Causes::default();
        causes.note_dropped(SlotId(1), libc::ENOBUFS);
        causes.note_dropped(SlotId(2), libc::ENOBUFS);
        let id = causes.lose(SlotId(1), &Remarks::default(), now);
        assert_eq!(causes.get(id).kind, CauseKind::DroppedLocally);
        assert_eq!(causes.take_dropped(SlotId(2)), Some(libc::ENOBUFS));
        let id = causes.lose(SlotId(2), &Remarks::default(), now);
        assert_eq!(causes.get(id).kind, CauseKind::NoReply);
    }

    #[test]
    fn packets_beside_are_counted_once_however_often_one_looks() {
        let (now, slot) = (test_clock(), SlotId(3));
        let mut causes = Causes::default();
        let mut seen = |duplicates, forged, is_last| {
            let remarks = Remarks {
                duplicates,
                forged,
                ..Remarks::default()
            };
            causes.note_packets(slot, &remarks, is_last, now);
            causes.list().iter().map(|cause| cause.count).collect()
        };
        let counts: Vec<Vec<u64>> = vec![
            seen(0, 0, false),
            seen(2, 0, false),
            seen(2, 0, false),
            seen(3, 1, false),
            seen(3, 1, true),
            // The next probe of the slot.
            seen(1, 0, false),
            seen(1, 0, true),
        ];
        let expected: [&[u64]; 7] = [&[], &[2], &[2], &[3, 1], &[3, 1], &[4, 1], &[4, 1]];
        assert_eq!(counts, expected);
    }

    #[test]
    fn an_attacker_makes_no_long_list_and_every_probe_is_counted_once() {
        let now = test_clock();
        let mut random = Random(1);
        let mut causes = Causes::default();
        for _ in 0..10_000 {
            let from = (random.next() as u32).to_be_bytes();
            let remarks = Remarks {
                error: error(from, 3, random.below(16) as u8),
                ..Remarks::default()
            };
            causes.lose(SlotId(0), &remarks, now);
        }
        assert_eq!(causes.list().len(), DETAILS_MAX + 1);
        let sum: u64 = causes.list().iter().map(|cause| cause.count).sum();
        assert_eq!(sum, 10_000);
    }
}
