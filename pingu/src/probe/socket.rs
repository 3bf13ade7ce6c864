//! The engine without eBPF: packet sockets send, packet sockets receive, and the kernel's own timestamps say when. Its answers are those
//! of the eBPF engine: [`reply`] has the same rules. It differs in this: replies wait in a queue until somebody reads slots, and they go
//! on into the kernel's own stack, which ignores them. Where packet sockets are refused, the kernel's echo sockets serve.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use self::{
    account::Accounts,
    clockwork::Clockwork,
    filter::Passes,
    inbox::Queue,
    listener::{Heard, Listener},
    ping::PingInterface,
    ready::{Ready, Waiting},
    tap::Tap,
};
use super::{
    InterfaceTraffic, ProbeOrder, ProbeTransport, Remarks, SendResult, Stamps,
    kernel::{
        KernelCounters,
        sender::{Cookies, Sender, Stamping},
        slots::Slots,
    },
};
use crate::units::{Ifindex, SlotId};

mod account;
pub(crate) mod clock;
pub(crate) mod clockwork;
mod counters;
mod filter;
pub(crate) mod inbox;
mod listener;
mod network;
mod ping;
mod ready;
pub mod reply;
pub(in crate::probe) mod tap;

/// Packets read from one queue in a row: more than fit into it, so that only a flood that outruns the reading is cut.
const READ_MAX: usize = 131_072;

/// Of replies that are none of ours, and of errors.
const STRAY_READ_MAX: usize = 256;

/// Fewer packets than this fill no queue.
const OVERFLOW_PACKETS_MIN: usize = 16;

/// What interfaces count of a reply beside the bytes that an echo socket shows, about.
const ECHO_HEADER_BYTES: u64 = 14 + 20;

/// The socket engine.
pub struct SocketTransport {
    slots: Slots,
    heard: Heard,
    sender: Sender,
    clockwork: Clockwork,
    /// What every cookie begins with.
    first_word: u32,
    /// In order of their interfaces' numbers.
    ears: Vec<Ear>,
    /// Interfaces that are served by echo sockets: all, or none.
    pings: Vec<PingInterface>,
    cookies: Cookies,
    ready: Ready,
    accounts: Accounts,
}

/// The receiving sockets of one interface.
struct Ear {
    ifindex: Ifindex,
    own: Tap,
    stray: Tap,
}

/// Which sockets serve an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sockets {
    /// Packet sockets.
    Packet,
    /// The kernel's echo sockets: packet sockets were refused.
    Echo,
}

impl SocketTransport {
    /// An engine with so many slots, which serves no interface yet.
    pub fn new(slots: u32) -> io::Result<Self> {
        let slots = Slots::anonymous(slots.max(1))?;
        let first_word = rand::random();
        Ok(Self {
            heard: Heard::new(slots.count()),
            slots,
            sender: Sender::new(Some(first_word)),
            clockwork: Clockwork::new(),
            first_word,
            ears: Vec::new(),
            pings: Vec::new(),
            cookies: Cookies::new(None),
            ready: Ready::new()?,
            accounts: Accounts::default(),
        })
    }

    /// Opens the sockets of an interface; `bare` is a device without link header. One that is served already is served anew.
    pub fn attach(&mut self, ifindex: Ifindex, bare: bool) -> io::Result<Sockets> {
        self.detach(ifindex);
        match self.attach_packet_sockets(ifindex, bare) {
            Ok(()) => Ok(Sockets::Packet),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                // If these are refused as well, the packet socket is what is missing.
                let interface = PingInterface::new(ifindex).map_err(|_| error)?;
                self.pings.push(interface);
                Ok(Sockets::Echo)
            }
            Err(error) => Err(error),
        }
    }

    fn attach_packet_sockets(&mut self, ifindex: Ifindex, bare: bool) -> io::Result<()> {
        let probes = self.slots.count();
        let own = Tap::open(ifindex, bare, Passes::Own(self.first_word), probes)?;
        let stray = Tap::open(ifindex, bare, Passes::OtherReplies(self.first_word), probes)?;
        self.ready.watch(&own.socket, Waiting::Own(ifindex))?;
        self.ready.watch(&stray.socket, Waiting::Stray(ifindex))?;
        self.sender.open_stamping(ifindex, bare)?;
        let place = self.ears.partition_point(|ear| ear.ifindex < ifindex);
        let ear = Ear {
            ifindex,
            own,
            stray,
        };
        self.ears.insert(place, ear);
        Ok(())
    }

    /// Closes the sockets of an interface. Does nothing where it is not served.
    pub fn detach(&mut self, ifindex: Ifindex) {
        if !self.serves(ifindex) {
            return;
        }
        drop(self.sender.close(ifindex));
        self.accounts.end(ifindex);
        self.ears.retain(|ear| ear.ifindex != ifindex);
        self.pings.retain(|interface| interface.ifindex != ifindex);
        // What waited in the queues, or comes next, is never read.
        self.slots.doubt(ifindex);
    }

    /// Whether it serves an interface.
    pub fn serves(&self, ifindex: Ifindex) -> bool {
        self.ear(ifindex).is_some() || self.ping(ifindex).is_some()
    }

    /// What it has counted.
    pub fn counters(&self) -> KernelCounters {
        self.heard.counters
    }

    fn ear(&self, ifindex: Ifindex) -> Option<usize> {
        self.ears
            .binary_search_by_key(&ifindex, |ear| ear.ifindex)
            .ok()
    }

    fn ping(&self, ifindex: Ifindex) -> Option<usize> {
        let mut pings = self.pings.iter();
        pings.position(|interface| interface.ifindex == ifindex)
    }

    fn send_pings(&mut self, orders: &[ProbeOrder], results: &mut Vec<SendResult>) {
        results.clear();
        for order in orders {
            let Some(place) = self.ping(order.ifindex) else {
                self.slots.forget(order.slot);
                results.push(SendResult::NotSent(libc::ENODEV));
                continue;
            };
            let cookie = self.cookies.next();
            let (heard, clockwork) = (&mut self.heard, &mut self.clockwork);
            let interface = &mut self.pings[place];
            let (result, new) = interface.send(order, cookie, &self.slots, heard, clockwork);
            results.push(result);
            if let Some(socket) = new
                && let Err(error) = self.ready.watch(socket, Waiting::Echo(order.ifindex))
            {
                tracing::debug!(ifindex = %order.ifindex, %error, "cannot read replies");
            }
        }
    }

    /// Reads everything that waits. The clock was looked at just before.
    fn read_queues(&mut self) {
        for waiting in self.ready.ask() {
            match waiting {
                Waiting::Own(ifindex) | Waiting::Stray(ifindex) => {
                    let stray = waiting == Waiting::Stray(ifindex);
                    self.read_packets(ifindex, stray);
                }
                Waiting::Echo(ifindex) => self.read_replies(ifindex),
            }
        }
    }

    fn read_packets(&mut self, ifindex: Ifindex, stray: bool) {
        let Some(place) = self.ear(ifindex) else {
            return;
        };
        let (tap, most) = match (&self.ears[place], stray) {
            (ear, false) => (&ear.own, READ_MAX),
            (ear, true) => (&ear.stray, STRAY_READ_MAX),
        };
        let mut listener = Listener {
            slots: &self.slots,
            heard: &mut self.heard,
            clock: &self.clockwork.clock,
            look: self.clockwork.look,
            ifindex,
        };
        let (inbox, socket) = (&mut self.clockwork.inbox, tap.socket.as_fd());
        let accounts = &mut self.accounts;
        let taken = inbox.take(socket, Queue::Received, most, |message| {
            listener.take_packet(message, tap.bare);
            if !stray {
                accounts.heard(ifindex, message.bytes as u64);
            }
        });
        if overflowed(taken, ifindex, || {
            !stray && tap.overflowed().unwrap_or(0) > 0
        }) {
            self.slots.doubt(ifindex);
        }
    }

    fn read_replies(&mut self, ifindex: Ifindex) {
        let Some(place) = self.ping(ifindex) else {
            return;
        };
        for socket in &mut self.pings[place].sockets {
            let mut listener = Listener {
                slots: &self.slots,
                heard: &mut self.heard,
                clock: &self.clockwork.clock,
                look: self.clockwork.look,
                ifindex,
            };
            let inbox = &mut self.clockwork.inbox;
            let fd: BorrowedFd<'_> = socket.socket.as_fd();
            let errors = inbox.take(fd, Queue::Errors, STRAY_READ_MAX, |message| {
                listener.heard.take_error(message, listener.slots);
            });
            overflowed(errors, ifindex, || false);
            let accounts = &mut self.accounts;
            let taken = inbox.take(fd, Queue::Received, READ_MAX, |message| {
                listener.take_reply(message);
                accounts.heard(ifindex, message.bytes as u64 + ECHO_HEADER_BYTES);
            });
            if overflowed(taken, ifindex, || socket.overflowed() > 0) {
                self.slots.doubt(ifindex);
            }
        }
    }
}

/// Whether replies were lost in a full queue; `ask` is asked only if there is reason to.
fn overflowed(taken: io::Result<usize>, ifindex: Ifindex, ask: impl FnOnce() -> bool) -> bool {
    match taken {
        Ok(count) if count >= OVERFLOW_PACKETS_MIN && ask() => {
            tracing::debug!(%ifindex, "replies found no room, so silence says nothing");
            true
        }
        Ok(_) => false,
        // An interface that is set down or deleted says so once on each socket; sending says it, too.
        Err(error) => {
            tracing::debug!(%ifindex, %error, "cannot read replies");
            false
        }
    }
}

impl ProbeTransport for SocketTransport {
    fn send(&mut self, orders: &[ProbeOrder], results: &mut Vec<SendResult>) {
        for order in orders {
            self.heard.forget(order.slot);
        }
        if self.pings.is_empty() {
            let stamping = &mut Stamping::Sockets(&mut self.clockwork);
            self.sender.send(&self.slots, stamping, orders, results);
        } else {
            self.send_pings(orders, results);
        }
        self.accounts.sent(orders, results);
    }

    fn read(&self, slot: SlotId) -> Stamps {
        self.slots.read(slot)
    }

    fn remarks(&self, slot: SlotId) -> Remarks {
        self.heard.remarks(slot)
    }

    fn interface_traffic(
        &mut self,
        ifindex: Ifindex,
        tell_apart: bool,
    ) -> Option<InterfaceTraffic> {
        if !self.serves(ifindex) {
            return None;
        }
        let bare = self.ear(ifindex).map(|place| self.ears[place].own.bare);
        // Where packet sockets were refused, this one would be, too.
        let tell_apart = tell_apart && bare.is_some();
        let socket = (bare.unwrap_or(false), self.first_word);
        self.accounts.traffic(ifindex, tell_apart, socket)
    }

    fn refresh(&mut self) {
        self.clockwork.look();
        self.read_queues();
        self.clockwork.clock.forget_steps();
        self.accounts.grow_old();
    }
}
