//! Takes in what comes: judges it, gives slots their times, and notes what else was seen.

use super::{
    clock::{Clock, Look},
    inbox::Message,
    reply::{self, Arrival, Quoted, Verdict},
};
use crate::{
    probe::{
        IcmpError, Remarks,
        kernel::{KernelCounters, slots::Slots},
    },
    units::{Ifindex, SlotId},
};

/// What is known of what was heard.
pub(super) struct Heard {
    remarks: Vec<Remarks>,
    pub(super) counters: KernelCounters,
    /// The kernel is known to take times at reception. It begins to a moment after the first socket has asked for it, and fills in the
    /// time of reading until then.
    takes_times: bool,
}

impl Heard {
    pub(super) fn new(slots: u32) -> Self {
        Self {
            remarks: vec![Remarks::default(); slots as usize],
            counters: KernelCounters::default(),
            takes_times: false,
        }
    }

    /// A slot has a new probe.
    pub(super) fn forget(&mut self, slot: SlotId) {
        if let Some(remarks) = self.remarks.get_mut(slot.0 as usize) {
            *remarks = Remarks::default();
        }
    }

    /// What was seen beside a probe's reply.
    pub(super) fn remarks(&self, slot: SlotId) -> Remarks {
        let remarks = self.remarks.get(slot.0 as usize);
        remarks.copied().unwrap_or_default()
    }

    /// From an echo socket's error queue: an ICMP error with the head of the request that it is about, and where that had gone.
    pub(super) fn take_error(&mut self, message: &Message<'_>, slots: &Slots) {
        let (Some(error), Some(target)) = (message.error, message.from) else {
            return;
        };
        let Some(from) = error.offender.filter(|_| message.is_icmp_error()) else {
            return;
        };
        let (kind, code) = (error.kind, error.code);
        let slot = |slot| slots.expected(slot);
        match reply::judge_quoted(message.packet, target, slot) {
            Quoted::Probe(slot) => self.note_error(slot, IcmpError { from, kind, code }),
            Quoted::Unproven => self.counters.error_unproven += 1,
            Quoted::Foreign => {}
        }
    }

    fn note_error(&mut self, slot: SlotId, error: IcmpError) {
        self.counters.error += 1;
        self.remark(slot, |remarks| remarks.error = Some(error));
    }

    fn remark(&mut self, slot: SlotId, change: impl FnOnce(&mut Remarks)) {
        if let Some(remarks) = self.remarks.get_mut(slot.0 as usize) {
            change(remarks);
        }
    }
}

/// Takes packets in.
pub(super) struct Listener<'a> {
    pub(super) slots: &'a Slots,
    pub(super) heard: &'a mut Heard,
    pub(super) clock: &'a Clock,
    /// Just before the packets were read.
    pub(super) look: Look,
    pub(super) ifindex: Ifindex,
}

impl Listener<'_> {
    /// From a packet socket; `bare` is one without link headers.
    pub(super) fn take_packet(&mut self, message: &Message<'_>, bare: bool) {
        let arrival = Arrival {
            packet: message.packet,
            bytes: message.bytes,
            bare,
            tag: message.tag,
            ifindex: self.ifindex,
        };
        let verdict = reply::judge(&arrival, |slot| self.slots.expected(slot));
        self.take_in(verdict, message.time_ns);
    }

    /// From an echo socket.
    pub(super) fn take_reply(&mut self, message: &Message<'_>) {
        let Some(source) = message.from else {
            return;
        };
        let slot = |slot| self.slots.expected(slot);
        let verdict = reply::judge_message(message.packet, source, self.ifindex, slot);
        self.take_in(verdict, message.time_ns);
    }

    fn take_in(&mut self, verdict: Verdict, time_ns: Option<u64>) {
        match verdict {
            Verdict::Foreign => {}
            Verdict::ErrorUnproven => self.heard.counters.error_unproven += 1,
            Verdict::Stale(_) => self.heard.counters.stale += 1,
            Verdict::Forged(slot) => {
                self.heard.counters.forged += 1;
                self.remark(slot, |remarks| add_one(&mut remarks.forged));
            }
            Verdict::WrongUplink(slot) => {
                self.heard.counters.wrong_uplink += 1;
                let ifindex = self.ifindex;
                self.remark(slot, |remarks| {
                    add_one(&mut remarks.wrong_uplink);
                    remarks.came_in_by = Some(ifindex);
                });
            }
            Verdict::Duplicate(slot) => {
                self.heard.counters.duplicate += 1;
                self.remark(slot, |remarks| add_one(&mut remarks.duplicates));
            }
            Verdict::Corrupt(slot) => {
                self.heard.counters.corrupt += 1;
                self.remark(slot, |remarks| add_one(&mut remarks.corrupt));
            }
            Verdict::Error(slot, error) => self.heard.note_error(slot, error),
            Verdict::Matched(slot, reflection) => {
                self.remark(slot, |remarks| remarks.reflection = reflection);
                self.answer(slot, time_ns);
            }
        }
    }

    fn remark(&mut self, slot: SlotId, change: impl FnOnce(&mut Remarks)) {
        self.heard.remark(slot, change);
    }

    /// Gives the slot the time of its reply. A reply whose time is in doubt proves neither an RTT nor a loss: its probe counts as if it
    /// had never left.
    fn answer(&mut self, slot: SlotId, time_ns: Option<u64>) {
        let Some(expected) = self.slots.expected(slot) else {
            return;
        };
        let read_at_ns = Look::take();
        let was_taken_before = |ns: &u64| *ns <= self.look.real_ns;
        self.heard.takes_times |= time_ns.as_ref().is_some_and(was_taken_before);
        let time_ns = time_ns
            .filter(|ns| self.heard.takes_times || was_taken_before(ns))
            .and_then(|ns| {
                self.clock
                    .monotonic(ns, expected.sent_ns, read_at_ns.monotonic_ns)
            });
        match time_ns {
            Some(received_ns) => {
                if self.slots.answer(slot, &expected.cookie, received_ns) {
                    self.heard.counters.matched += 1;
                }
            }
            None => {
                self.slots.set_sent(slot, 0);
            }
        }
    }
}

fn add_one(count: &mut u16) {
    *count = count.saturating_add(1);
}
