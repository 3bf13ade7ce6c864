//! What both directions need to learn times: the buffers, and the clock that the kernel's times are translated by.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use super::{
    clock::{Clock, Look},
    inbox::{self, Inbox, Message, Queue, ask_for_times},
    reply,
};
use crate::{probe::kernel::slots::Slots, units::SlotId};

/// Has a socket tell when what it sends reaches its device's queue: just before the egress hook, where the eBPF engine reads its clock.
/// That happens within the system call that sends, and needs nothing of the device.
pub(crate) fn tell_departures(socket: BorrowedFd<'_>) -> io::Result<()> {
    ask_for_times(socket, libc::SOF_TIMESTAMPING_TX_SCHED)
}

/// More than are ever sent at once.
const DEPARTURES_MAX: usize = 1_024;

/// Buffers and clock.
pub(crate) struct Clockwork {
    pub(crate) inbox: Inbox,
    pub(crate) clock: Clock,
    /// The last look.
    pub(crate) look: Look,
    /// A socket that receives nothing and asks for times: the kernel begins to take them a moment after the first one asks, and this one
    /// asks before there are interfaces.
    _asks: Option<OwnedFd>,
}

impl Clockwork {
    pub(crate) fn new() -> Self {
        let look = Look::take();
        Self {
            inbox: Inbox::new(),
            clock: Clock::new(look),
            look,
            _asks: ask()
                .inspect_err(|error| tracing::debug!(%error, "cannot ask for times"))
                .ok(),
        }
    }

    /// Looks at the clocks.
    pub(crate) fn look(&mut self) {
        self.look = Look::take();
        self.clock.note(self.look);
    }

    /// Stamps the slots of requests that have just left by this socket, since the last look. What else its error queue has is handed to
    /// `others`: it is told once.
    pub(in crate::probe) fn stamp_departures(
        &mut self,
        socket: BorrowedFd<'_>,
        slots: &Slots,
        mut others: impl FnMut(&Message<'_>),
    ) {
        let from_ns = self.look.monotonic_ns;
        self.look();
        let (clock, to_ns) = (&self.clock, self.look.monotonic_ns);
        let taken = self
            .inbox
            .take(socket, Queue::Errors, DEPARTURES_MAX, |message| {
                if message.is_icmp_error() {
                    return others(message);
                }
                // The error queue has the packet as the device gets it. A device that hides its link header has none here, either.
                let Some(payload) = [false, true]
                    .into_iter()
                    .find_map(|bare| reply::request(message.packet, bare))
                else {
                    return;
                };
                let slot = SlotId(payload.slot);
                let is_its = slots
                    .expected(slot)
                    .is_some_and(|slot| slot.cookie == payload.cookie && slot.sent_ns == 0);
                let time_ns = message.time_ns;
                if let Some(sent_ns) = time_ns.and_then(|ns| clock.monotonic(ns, from_ns, to_ns))
                    && is_its
                {
                    slots.set_sent(slot, sent_ns);
                }
            });
        if let Err(error) = taken {
            tracing::debug!(%error, "the kernel does not say when probes left");
        }
    }
}

fn ask() -> io::Result<OwnedFd> {
    let socket = inbox::open(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    ask_for_times(socket.as_fd(), libc::SOF_TIMESTAMPING_RX_SOFTWARE)?;
    Ok(socket)
}
