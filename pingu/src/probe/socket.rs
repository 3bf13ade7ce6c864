//! The engine without eBPF: packet sockets send, packet sockets receive, and the kernel's own timestamps say when. Its answers are those
//! of the eBPF engine: [`reply`] has the same rules. It differs in this: replies wait in a queue until somebody reads slots, and they go
//! on into the kernel's own stack, which ignores them.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

use self::{
    clockwork::Clockwork,
    filter::Passes,
    inbox::{Message, Queue},
    reply::{Arrival, Verdict},
    tap::Tap,
};
use super::{
    ProbeOrder, ProbeTransport, Remarks, SendResult, Stamps,
    kernel::{
        KernelCounters,
        sender::{Sender, Stamping},
        slots::Slots,
    },
};
use crate::units::{Ifindex, SlotId};

pub(in crate::probe) mod clock;
pub(in crate::probe) mod clockwork;
mod filter;
pub(in crate::probe) mod inbox;
pub mod reply;
pub(in crate::probe) mod tap;

/// Packets read from one queue in a row: more than fit into it, so that only a flood that outruns the reading is cut.
const READ_MAX: usize = 131_072;

/// Of replies that are none of ours.
const STRAY_READ_MAX: usize = 256;

/// So many sockets are asked for in one system call, and so often in a row.
const READY_MAX: usize = 64;
const READY_TURNS_MAX: usize = 64;

/// Fewer packets than this fill no queue.
const OVERFLOW_PACKETS_MIN: usize = 16;

/// The socket engine.
pub struct SocketTransport {
    slots: Slots,
    remarks: Vec<Remarks>,
    sender: Sender,
    clockwork: Clockwork,
    counters: KernelCounters,
    /// What every cookie begins with.
    first_word: u32,
    /// In order of their interfaces' numbers.
    ears: Vec<Ear>,
    ready: OwnedFd,
    /// The kernel is known to take times at reception. It begins to a moment after the first socket has asked for it, and fills in the
    /// time of reading until then.
    takes_times: bool,
}

/// The receiving sockets of one interface.
struct Ear {
    ifindex: Ifindex,
    own: Tap,
    stray: Tap,
}

impl SocketTransport {
    /// An engine with so many slots, which serves no interface yet.
    pub fn new(slots: u32) -> io::Result<Self> {
        let slots = Slots::anonymous(slots.max(1))?;
        let first_word = rand::random();
        // SAFETY: a plain system call.
        let ready = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if ready < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was opened just above and is nobody else's.
        let ready = unsafe { OwnedFd::from_raw_fd(ready) };
        Ok(Self {
            remarks: vec![Remarks::default(); slots.count() as usize],
            slots,
            sender: Sender::new(Some(first_word)),
            clockwork: Clockwork::new(),
            counters: KernelCounters::default(),
            first_word,
            ears: Vec::new(),
            ready,
            takes_times: false,
        })
    }

    /// Opens the sockets of an interface; `bare` is a device without link header. One that is served already is served anew.
    pub fn attach(&mut self, ifindex: Ifindex, bare: bool) -> io::Result<()> {
        self.detach(ifindex);
        let probes = self.slots.count();
        let own = Tap::open(ifindex, bare, Passes::Own(self.first_word), probes)?;
        let stray = Tap::open(ifindex, bare, Passes::OtherReplies(self.first_word), probes)?;
        self.watch(&own, ifindex, false)?;
        self.watch(&stray, ifindex, true)?;
        self.sender.open_stamping(ifindex, bare)?;
        let place = self.ears.partition_point(|ear| ear.ifindex < ifindex);
        self.ears.insert(
            place,
            Ear {
                ifindex,
                own,
                stray,
            },
        );
        Ok(())
    }

    /// Closes the sockets of an interface. Does nothing where it is not served.
    pub fn detach(&mut self, ifindex: Ifindex) {
        if let Some(place) = self.ear(ifindex) {
            self.sender.close(ifindex);
            self.ears.remove(place);
            // What waited in the queue, or comes next, is never read.
            self.slots.doubt(ifindex);
        }
    }

    /// Whether it serves an interface.
    pub fn serves(&self, ifindex: Ifindex) -> bool {
        self.ear(ifindex).is_some()
    }

    /// What it has counted.
    pub fn counters(&self) -> KernelCounters {
        self.counters
    }

    fn ear(&self, ifindex: Ifindex) -> Option<usize> {
        self.ears
            .binary_search_by_key(&ifindex, |ear| ear.ifindex)
            .ok()
    }

    fn watch(&self, tap: &Tap, ifindex: Ifindex, stray: bool) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: u64::from(ifindex.0) << 1 | u64::from(stray),
        };
        // SAFETY: the event outlives the call.
        let result = unsafe {
            libc::epoll_ctl(
                self.ready.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                tap.socket.as_raw_fd(),
                &raw mut event,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Reads everything that waits. The clock was looked at just before.
    fn read_queues(&mut self) {
        for _ in 0..READY_TURNS_MAX {
            let mut events = [libc::epoll_event { events: 0, u64: 0 }; READY_MAX];
            // SAFETY: the events outlive the call, and there are as many.
            let count = unsafe {
                libc::epoll_wait(
                    self.ready.as_raw_fd(),
                    events.as_mut_ptr(),
                    READY_MAX as i32,
                    0,
                )
            };
            let ready = &events[..count.max(0) as usize];
            for event in ready {
                let key = event.u64;
                self.read_queue(Ifindex((key >> 1) as u32), key & 1 != 0);
            }
            if ready.len() < READY_MAX {
                break;
            }
        }
    }

    fn read_queue(&mut self, ifindex: Ifindex, stray: bool) {
        let Some(place) = self.ear(ifindex) else {
            return;
        };
        let (tap, most) = match (&self.ears[place], stray) {
            (ear, false) => (&ear.own, READ_MAX),
            (ear, true) => (&ear.stray, STRAY_READ_MAX),
        };
        let mut listener = Listener {
            slots: &self.slots,
            remarks: &mut self.remarks,
            counters: &mut self.counters,
            takes_times: &mut self.takes_times,
            clock: &self.clockwork.clock,
            look: self.clockwork.look,
            ifindex,
            bare: tap.bare,
        };
        let inbox = &mut self.clockwork.inbox;
        let taken = inbox.take(tap.socket.as_fd(), Queue::Received, most, |message| {
            listener.take(message);
        });
        match taken {
            Ok(count) if !stray && count >= OVERFLOW_PACKETS_MIN => {
                if tap.overflowed().unwrap_or(0) > 0 {
                    tracing::debug!(%ifindex, "replies found no room, so silence says nothing");
                    self.slots.doubt(ifindex);
                }
            }
            Ok(_) => {}
            // An interface that is set down or deleted says so once on each socket; sending says it, too.
            Err(error) => tracing::debug!(%ifindex, %error, "cannot read replies"),
        }
    }
}

impl ProbeTransport for SocketTransport {
    fn send(&mut self, orders: &[ProbeOrder], results: &mut Vec<SendResult>) {
        for order in orders {
            if let Some(remarks) = self.remarks.get_mut(order.slot.0 as usize) {
                *remarks = Remarks::default();
            }
        }
        let stamping = &mut Stamping::Sockets(&mut self.clockwork);
        self.sender.send(&self.slots, stamping, orders, results);
    }

    fn read(&self, slot: SlotId) -> Stamps {
        self.slots.read(slot)
    }

    fn remarks(&self, slot: SlotId) -> Remarks {
        self.remarks
            .get(slot.0 as usize)
            .copied()
            .unwrap_or_default()
    }

    fn refresh(&mut self) {
        self.clockwork.look();
        self.read_queues();
        self.clockwork.clock.forget_steps();
    }
}

fn add_one(count: &mut u16) {
    *count = count.saturating_add(1);
}

/// Takes packets in.
struct Listener<'a> {
    slots: &'a Slots,
    remarks: &'a mut [Remarks],
    counters: &'a mut KernelCounters,
    takes_times: &'a mut bool,
    clock: &'a clock::Clock,
    /// Just before the packets were read.
    look: clock::Look,
    ifindex: Ifindex,
    bare: bool,
}

impl Listener<'_> {
    fn take(&mut self, message: &Message<'_>) {
        let arrival = Arrival {
            packet: message.packet,
            bytes: message.bytes,
            bare: self.bare,
            tag: message.tag,
            ifindex: self.ifindex,
        };
        let verdict = reply::judge(&arrival, |slot| self.slots.expected(slot));
        match verdict {
            Verdict::Foreign => {}
            Verdict::ErrorUnproven => self.counters.error_unproven += 1,
            Verdict::Stale(_) => self.counters.stale += 1,
            Verdict::Forged(slot) => {
                self.counters.forged += 1;
                self.remark(slot, |remarks| add_one(&mut remarks.forged));
            }
            Verdict::WrongUplink(slot) => {
                self.counters.wrong_uplink += 1;
                let ifindex = self.ifindex;
                self.remark(slot, |remarks| {
                    add_one(&mut remarks.wrong_uplink);
                    remarks.came_in_by = Some(ifindex);
                });
            }
            Verdict::Duplicate(slot) => {
                self.counters.duplicate += 1;
                self.remark(slot, |remarks| add_one(&mut remarks.duplicates));
            }
            Verdict::Corrupt(slot) => {
                self.counters.corrupt += 1;
                self.remark(slot, |remarks| add_one(&mut remarks.corrupt));
            }
            Verdict::Error(slot, error) => {
                self.counters.error += 1;
                self.remark(slot, |remarks| remarks.error = Some(error));
            }
            Verdict::Matched(slot, reflection) => {
                self.remark(slot, |remarks| remarks.reflection = reflection);
                self.answer(slot, message.time_ns);
            }
        }
    }

    fn remark(&mut self, slot: SlotId, change: impl FnOnce(&mut Remarks)) {
        if let Some(remarks) = self.remarks.get_mut(slot.0 as usize) {
            change(remarks);
        }
    }

    /// Gives the slot the time of its reply. A reply whose time is in doubt proves neither an RTT nor a loss: its probe counts as if it
    /// had never left.
    fn answer(&mut self, slot: SlotId, time_ns: Option<u64>) {
        let Some(expected) = self.slots.expected(slot) else {
            return;
        };
        let read_at_ns = clock::Look::take();
        let was_taken_before = |ns: &u64| *ns <= self.look.real_ns;
        *self.takes_times |= time_ns.as_ref().is_some_and(was_taken_before);
        let time_ns = time_ns
            .filter(|ns| *self.takes_times || was_taken_before(ns))
            .and_then(|ns| {
                self.clock
                    .monotonic(ns, expected.sent_ns, read_at_ns.monotonic_ns)
            });
        match time_ns {
            Some(received_ns) => {
                if self.slots.answer(slot, &expected.cookie, received_ns) {
                    self.counters.matched += 1;
                }
            }
            None => {
                self.slots.set_sent(slot, 0);
            }
        }
    }
}
