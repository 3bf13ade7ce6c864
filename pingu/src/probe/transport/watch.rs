//! Watches the hooks of interfaces that fell silent: a packet socket sees replies before every hook of traffic control, so one that it sees
//! and the hook does not proves the hook blind. The silence is then not the uplink's, and the reply counts.
//!
//! Such a socket costs every packet of its interface a little, so it is open only while there is reason for doubt.

use std::{io, os::fd::AsFd};

use crate::{
    probe::{
        kernel::slots::Slots,
        socket::{
            clockwork::Clockwork,
            reply::{self, Arrival, Verdict},
            tap::Tap,
        },
    },
    units::{Ifindex, SlotId},
};

/// The hook sees a packet microseconds after the socket, on the same processor.
const HOOK_NS_MAX: u64 = 1_000_000;

/// Replies that wait for the hook; any more are not needed to prove anything.
const PENDING_MAX: usize = 4_096;

/// Packets read in a row.
const READ_MAX: usize = 16_384;

/// The sockets.
pub(super) struct Watch {
    clockwork: Clockwork,
    watched: Vec<Watched>,
    pending: Vec<Pending>,
}

struct Watched {
    ifindex: Ifindex,
    tap: Tap,
    /// Replies that the hook did not see.
    missed: u32,
}

/// A right reply that the hook had not seen when it was read.
struct Pending {
    ifindex: Ifindex,
    slot: SlotId,
    cookie: [u32; 4],
    read_ns: u64,
    /// None if the clocks do not agree on it.
    received_ns: Option<u64>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            clockwork: Clockwork::new(),
            watched: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Begins to watch an interface. Does nothing where that is done already.
    pub(super) fn begin(&mut self, ifindex: Ifindex, bare: bool, probes: u32) -> io::Result<()> {
        if self
            .watched
            .iter()
            .any(|watched| watched.ifindex == ifindex)
        {
            return Ok(());
        }
        self.watched.push(Watched {
            ifindex,
            tap: Tap::open_to_all(ifindex, bare, probes)?,
            missed: 0,
        });
        Ok(())
    }

    /// Ends that.
    pub(super) fn end(&mut self, ifindex: Ifindex) {
        self.watched.retain(|watched| watched.ifindex != ifindex);
        self.pending.retain(|pending| pending.ifindex != ifindex);
    }

    /// How many replies the hook of an interface has missed since it is watched; none if it is not.
    pub(super) fn missed(&self, ifindex: Ifindex) -> Option<u32> {
        let mut watched = self.watched.iter();
        Some(watched.find(|watched| watched.ifindex == ifindex)?.missed)
    }

    /// Reads what has come, and answers the slots of replies that the hook has missed.
    pub(super) fn refresh(&mut self, slots: &Slots) {
        if self.watched.is_empty() {
            return;
        }
        self.clockwork.look();
        for watched in &self.watched {
            let (clock, now_ns) = (&self.clockwork.clock, self.clockwork.look.monotonic_ns);
            let (ifindex, pending) = (watched.ifindex, &mut self.pending);
            let inbox = &mut self.clockwork.inbox;
            let taken = inbox.take_received(watched.tap.socket.as_fd(), READ_MAX, |message| {
                let arrival = Arrival {
                    packet: message.packet,
                    bytes: message.bytes,
                    bare: watched.tap.bare,
                    tag: message.tag,
                    ifindex,
                };
                let Verdict::Matched(slot, _) = reply::judge(&arrival, |slot| slots.expected(slot))
                else {
                    return;
                };
                let Some(held) = slots.expected(slot).filter(|_| pending.len() < PENDING_MAX)
                else {
                    return;
                };
                let received_ns = message
                    .time_ns
                    .and_then(|ns| clock.monotonic(ns, held.sent_ns, now_ns));
                pending.push(Pending {
                    ifindex,
                    slot,
                    cookie: held.cookie,
                    read_ns: now_ns,
                    received_ns,
                });
            });
            if let Err(error) = taken {
                tracing::debug!(%ifindex, %error, "cannot watch");
            }
        }
        self.clockwork.clock.forget_steps();
        self.settle(slots);
    }

    fn settle(&mut self, slots: &Slots) {
        let (watched, now_ns) = (&mut self.watched, self.clockwork.look.monotonic_ns);
        self.pending.retain(|pending| {
            if now_ns < pending.read_ns + HOOK_NS_MAX {
                return true;
            }
            let missed = match pending.received_ns {
                Some(received_ns) => slots.answer(pending.slot, &pending.cookie, received_ns),
                // No RTT, but no loss either.
                None => slots.doubt_one(pending.slot, &pending.cookie),
            };
            if missed
                && let Some(watched) = watched.iter_mut().find(|w| w.ifindex == pending.ifindex)
            {
                watched.missed = watched.missed.saturating_add(1);
            }
            false
        });
    }
}
