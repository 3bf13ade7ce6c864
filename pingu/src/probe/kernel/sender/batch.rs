//! Batches of frames: built in buffers that are allocated once, and handed to the kernel in one system call.

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    ptr,
};

use pingu_common::Payload;

use super::{Cookies, Stamping};
use crate::{
    probe::{
        ProbeOrder, SendResult,
        kernel::{packet_socket, slots::Slots},
        packet,
        socket::clock::Look,
    },
    units::SlotId,
};

/// Frames handed to the kernel at once: enough to make the system call's own cost (0.2 us) small against a packet's (1 us), few
/// enough to stay in the first-level cache.
pub(super) const BATCH: usize = 64;

/// Whom a frame is for. The kernel refuses a name that is shorter than its device's addresses: those of tunnels over IPv6 have 16 bytes.
#[repr(C)]
struct Address {
    _short: libc::sockaddr_ll,
    _rest: [u8; 8],
}

/// Frames on their way to the kernel, in buffers that are allocated once. Batches of larger probes than any before grow
/// them.
pub(super) struct Batch {
    frames: Vec<u8>,
    vectors: Vec<libc::iovec>,
    addresses: Vec<Address>,
    messages: Vec<libc::mmsghdr>,
    /// The order behind each message.
    places: Vec<u32>,
}

// SAFETY: the raw pointers in `vectors` and `messages` point into the other buffers, and are written anew before each use.
unsafe impl Send for Batch {}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            frames: Vec::new(),
            vectors: Vec::with_capacity(BATCH),
            addresses: Vec::with_capacity(BATCH),
            messages: Vec::with_capacity(BATCH),
            places: Vec::with_capacity(BATCH),
        }
    }

    /// Builds the frames of these orders and arms their slots. `named`: each says by which interface it leaves, where the socket does not
    /// know.
    pub(super) fn fill(
        &mut self,
        named: bool,
        orders: &[ProbeOrder],
        places: &[u32],
        results: &mut [SendResult],
        slots: &Slots,
        cookies: &mut Cookies,
    ) {
        self.vectors.clear();
        self.addresses.clear();
        self.messages.clear();
        self.places.clear();
        let payload_bytes = places
            .iter()
            .map(|place| orders[*place as usize].payload_bytes)
            .max()
            .unwrap_or(0);
        let stride = packet::HEADER_BYTES_MAX + usize::from(payload_bytes);
        if self.frames.len() < stride * places.len() {
            self.frames.resize(stride * BATCH, 0);
        }
        for (frame, place) in self.frames.chunks_exact_mut(stride).zip(places) {
            let order = &orders[*place as usize];
            let cookie = cookies.next();
            let Some(length) = packet::write(
                frame,
                order,
                &Payload {
                    slot: order.slot.0,
                    cookie,
                },
            ) else {
                results[*place as usize] = SendResult::NotSent(libc::EAFNOSUPPORT);
                continue;
            };
            slots.arm(order, cookie);
            self.vectors.push(libc::iovec {
                iov_base: frame.as_mut_ptr().cast(),
                iov_len: length,
            });
            self.addresses.push(Address {
                _short: packet_socket::address(order.ifindex, packet::ether_type(order.target)),
                _rest: [0; 8],
            });
            self.places.push(*place);
        }
        for (vector, address) in self.vectors.iter_mut().zip(&mut self.addresses) {
            // SAFETY: all of these are integers or pointers, for which zero is a value.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            if named {
                message.msg_hdr.msg_name = ptr::from_mut(address).cast();
                message.msg_hdr.msg_namelen = size_of::<Address>() as libc::socklen_t;
            }
            self.messages.push(message);
        }
    }

    /// Hands the frames to the kernel, and returns the errno if the interface takes no more of them for now.
    pub(super) fn flush(
        &mut self,
        socket: &OwnedFd,
        stamping: &mut Stamping<'_>,
        orders: &[ProbeOrder],
        results: &mut [SendResult],
        slots: &Slots,
    ) -> Option<i32> {
        let mut done = 0;
        let mut refused = None;
        while done < self.messages.len() && refused.is_none() {
            if let Stamping::Sockets(clockwork) = stamping {
                clockwork.look();
            }
            let sent = self.hand_over(socket, done);
            if let Stamping::Sockets(clockwork) = stamping {
                clockwork.stamp_departures(socket.as_fd(), slots, |_| {});
            }
            let errno = match sent {
                Ok(count) => {
                    self.note_sent(done, count, results);
                    done += count;
                    continue;
                }
                Err(errno) => errno,
            };
            let place = self.places[done] as usize;
            done += 1;
            let by_hooks = matches!(stamping, Stamping::Hooks(_));
            results[place] = refusal(errno, &orders[place], slots, by_hooks);
            let is_refused = results[place] == SendResult::NotSent(errno) && takes_no_more(errno);
            refused = is_refused.then_some(errno);
        }
        if let Some(errno) = refused {
            for place in &self.places[done..] {
                results[*place as usize] = SendResult::NotSent(errno);
                slots.disarm(orders[*place as usize].slot);
            }
        }
        refused
    }

    /// Hands frames of several interfaces to a socket that is bound to none; what one interface refuses is nothing to the next. Returns
    /// the orders that found no room in the socket: its other frames wait in some interface's queue.
    pub(super) fn flush_for_all(
        &mut self,
        socket: &OwnedFd,
        orders: &[ProbeOrder],
        results: &mut [SendResult],
        slots: &Slots,
    ) -> &[u32] {
        let mut done = 0;
        while done < self.messages.len() {
            match self.hand_over(socket, done) {
                Ok(count) => {
                    self.note_sent(done, count, results);
                    done += count;
                }
                Err(libc::EAGAIN) => break,
                Err(errno) => {
                    let place = self.places[done] as usize;
                    results[place] = refusal(errno, &orders[place], slots, true);
                    done += 1;
                }
            }
        }
        &self.places[done..]
    }

    /// How many frames from this one on the kernel takes, at least one, or the errno of the first.
    fn hand_over(&mut self, socket: &OwnedFd, first: usize) -> Result<usize, i32> {
        let waiting = &mut self.messages[first..];
        // SAFETY: every message points to one vector and one address that live as long as `self`, and each vector into
        // `frames`; none of these buffers was touched since.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                waiting.as_mut_ptr(),
                waiting.len() as u32,
                libc::MSG_DONTWAIT,
            )
        };
        match usize::try_from(sent) {
            Ok(count) if count > 0 => Ok(count),
            _ => {
                let error = io::Error::last_os_error().raw_os_error();
                Err(error.unwrap_or(libc::EIO))
            }
        }
    }

    fn note_sent(&self, first: usize, count: usize, results: &mut [SendResult]) {
        for place in &self.places[first..first + count] {
            results[*place as usize] = SendResult::Sent;
        }
    }
}

/// What became of a frame that the kernel answered with an errno.
fn refusal(errno: i32, order: &ProbeOrder, slots: &Slots, by_hooks: bool) -> SendResult {
    let is_stamped = || slots.read(order.slot).sent_ns.is_some();
    if errno == libc::ENOBUFS && (by_hooks || is_stamped()) {
        return dropped_at_egress(order.slot, slots);
    }
    slots.disarm(order.slot);
    SendResult::NotSent(errno)
}

/// The uplink's own full queue dropped a frame, or a filter of this machine: as lost as if a router had. A filter may come ahead of the
/// egress hook, which then stamps nothing; a socket's own stamp is taken before both.
pub(in crate::probe::kernel) fn dropped_at_egress(slot: SlotId, slots: &Slots) -> SendResult {
    if slots.read(slot).sent_ns.is_none() {
        slots.set_sent(slot, Look::take().monotonic_ns);
    }
    SendResult::Dropped(libc::ENOBUFS)
}

/// Whether an errno speaks of the interface rather than of one packet.
pub(in crate::probe::kernel) fn takes_no_more(errno: i32) -> bool {
    matches!(
        errno,
        libc::EAGAIN | libc::ENOBUFS | libc::ENETDOWN | libc::ENXIO | libc::ENODEV
    )
}
