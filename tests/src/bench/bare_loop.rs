//! What a hand-written loop of pingu's shape reaches: the same frames from the same kind of socket through the same programs, built once
//! and sent again and again, a packet a probe. What pingu is faster than this, its templates gain.

use std::{
    io, mem,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use pingu::{
    config::ReceiveHook,
    probe::{
        ProbeOrder, ProbeTransport,
        kernel::{KernelTransport, LoadOptions},
        packet,
    },
    units::{Ifindex, SlotId},
};
use pingu_common::{MARK, Payload};

use super::{
    cpu,
    probe::{Run, TIMEOUT},
};

/// One for all: nobody forges here.
pub(super) const COOKIE: [u32; 4] = [0x0123_4567, 0x89ab_cdef, 0x0f1e_2d3c, 0x4b5a_6978];

/// Sends each of the orders, all at once, until `probes` are sent.
pub(super) fn flood(orders: &[ProbeOrder], probes: u32, receive: ReceiveHook) -> Result<Run> {
    let ifindex = orders[0].ifindex;
    let mut transport = KernelTransport::load(LoadOptions::new(orders.len() as u32, receive))?;
    transport.attach(ifindex, false)?;
    let socket = packet_socket(ifindex, MARK)?;
    let mut frames = frames(orders)?;
    let mut vectors = vectors(&mut frames);
    let mut messages: Vec<_> = vectors.iter_mut().map(message).collect();

    let softirq_before = cpu::softirq_threads_time()?;
    let cpu_before = cpu::thread_time();
    let begin = Instant::now();
    let (mut sent, mut answered) = (0, 0);
    while sent < u64::from(probes) {
        for order in orders {
            transport.arm(order, COOKIE, 0);
        }
        // SAFETY: each message points to a vector and each vector to a frame; all of them live until the end of this function.
        let count = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as u32,
                0,
            )
        };
        ensure!(
            count as usize == orders.len(),
            "sendmmsg: {count}, {}",
            io::Error::last_os_error()
        );
        sent += count as u64;
        answered += collect(&transport, orders);
    }
    let elapsed = begin.elapsed();
    let cpu = cpu::thread_time() - cpu_before + (cpu::softirq_threads_time()? - softirq_before);
    Ok(Run {
        sent,
        answered,
        elapsed,
        cpu,
    })
}

/// Waits for all replies; how many came.
fn collect(transport: &KernelTransport, orders: &[ProbeOrder]) -> u64 {
    let begin = Instant::now();
    loop {
        let answered = orders
            .iter()
            .filter(|order| transport.read(order.slot).received_ns.is_some())
            .count();
        if answered == orders.len() || begin.elapsed() > TIMEOUT {
            return answered as u64;
        }
        std::thread::yield_now();
    }
}

/// The frame of each.
pub(super) fn frames(orders: &[ProbeOrder]) -> Result<Vec<Vec<u8>>> {
    orders
        .iter()
        .map(|order| {
            let mut frame = vec![0; packet::HEADER_BYTES_MAX + usize::from(order.payload_bytes)];
            let payload = Payload {
                slot: order.slot.0,
                cookie: COOKIE,
            };
            let length =
                packet::write(&mut frame, order, &payload).context("two families in one order")?;
            frame.truncate(length);
            Ok(frame)
        })
        .collect()
}

/// A vector for each frame, which must outlive it.
pub(super) fn vectors(frames: &mut [Vec<u8>]) -> Vec<libc::iovec> {
    let vector = |frame: &mut Vec<u8>| libc::iovec {
        iov_base: frame.as_mut_ptr().cast(),
        iov_len: frame.len(),
    };
    frames.iter_mut().map(vector).collect()
}

/// A message of one vector.
pub(super) fn message(vector: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all of these are integers or pointers, for which zero is a value.
    let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
    message.msg_hdr.msg_iov = vector;
    message.msg_hdr.msg_iovlen = 1;
    message
}

/// A packet socket that only sends, by this interface and with this mark.
pub(super) fn packet_socket(outlet: Ifindex, mark: u32) -> io::Result<OwnedFd> {
    // SAFETY: plain system calls; what they point to lives through them.
    unsafe {
        let socket = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(socket);
        let mark = (&raw const mark).cast();
        let mut address: libc::sockaddr_ll = mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = outlet.0 as i32;
        let bytes = size_of_val(&address) as libc::socklen_t;
        if libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_MARK, mark, 4) != 0
            || libc::bind(socket.as_raw_fd(), (&raw const address).cast(), bytes) != 0
        {
            return Err(io::Error::last_os_error());
        }
        Ok(socket)
    }
}

/// One order for each slot of a window, to the targets in turns.
pub(super) fn orders(
    window: u32,
    targets: u32,
    first: u32,
    template: &ProbeOrder,
) -> Vec<ProbeOrder> {
    (0..window)
        .map(|slot| ProbeOrder {
            slot: SlotId(slot),
            target: IpAddr::V4(Ipv4Addr::from(first + slot % targets)),
            ..*template
        })
        .collect()
}
