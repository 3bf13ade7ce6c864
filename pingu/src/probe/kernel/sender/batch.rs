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
    },
    units::Ifindex,
};

/// Frames handed to the kernel at once: enough to make the system call's own cost (0.2 us) small against a packet's (1 us), few
/// enough to stay in the first-level cache.
pub(super) const BATCH: usize = 64;

/// Frames of one interface on their way to the kernel, in buffers that are allocated once. Batches of larger probes than any before grow
/// them.
pub(super) struct Batch {
    frames: Vec<u8>,
    vectors: Vec<libc::iovec>,
    addresses: Vec<libc::sockaddr_ll>,
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

    /// Builds the frames of these orders and arms their slots.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of the sender, borrowed apart"
    )]
    pub(super) fn fill(
        &mut self,
        bare: bool,
        ifindex: Ifindex,
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
            self.addresses.push(packet_socket::address(
                ifindex,
                packet::ether_type(order.target),
            ));
            self.places.push(*place);
        }
        for (vector, address) in self.vectors.iter_mut().zip(&mut self.addresses) {
            // SAFETY: all of these are integers or pointers, for which zero is a value.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            if bare {
                message.msg_hdr.msg_name = ptr::from_mut(address).cast();
                message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
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
            let waiting = &mut self.messages[done..];
            if let Stamping::Sockets(clockwork) = stamping {
                clockwork.look();
            }
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
            let errno = io::Error::last_os_error();
            if let Stamping::Sockets(clockwork) = stamping {
                clockwork.stamp_departures(socket.as_fd(), slots);
            }
            if sent > 0 {
                let end = done + sent as usize;
                for place in &self.places[done..end] {
                    results[*place as usize] = SendResult::Sent;
                }
                done = end;
                continue;
            }
            let errno = errno.raw_os_error().unwrap_or(libc::EIO);
            let place = self.places[done] as usize;
            let slot = orders[place].slot;
            done += 1;
            if errno == libc::ENOBUFS && slots.read(slot).sent_ns.is_some() {
                // It passed the egress hook, and the uplink's own full queue dropped it: as lost as if a router had.
                results[place] = SendResult::Dropped(errno);
                continue;
            }
            results[place] = SendResult::NotSent(errno);
            slots.disarm(slot);
            refused = takes_no_more(errno).then_some(errno);
        }
        if let Some(errno) = refused {
            for place in &self.places[done..] {
                results[*place as usize] = SendResult::NotSent(errno);
                slots.disarm(orders[*place as usize].slot);
            }
        }
        refused
    }
}

/// Whether an errno speaks of the interface rather than of one packet.
pub(in crate::probe::kernel) fn takes_no_more(errno: i32) -> bool {
    matches!(
        errno,
        libc::EAGAIN | libc::ENOBUFS | libc::ENETDOWN | libc::ENXIO | libc::ENODEV
    )
}
