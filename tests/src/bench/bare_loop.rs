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
    af_xdp::FrameSocket,
    cpu,
    probe::{Run, TIMEOUT},
    report::quantile,
};

/// One for all: nobody forges here.
pub(super) const COOKIE: [u32; 4] = [0x0123_4567, 0x89ab_cdef, 0x0f1e_2d3c, 0x4b5a_6978];

/// How the frames leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlet {
    /// As pingu's do: by the egress hook, which stamps them.
    PacketSocket,
    /// By AF_XDP, past that hook: the time before the burst counts for all of it.
    FrameSocket,
}

/// What a bare loop reached, and the median and p99 of the round-trip times that its slots tell, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flooded {
    pub(super) run: Run,
    pub(super) rtt_us: [f64; 2],
}

/// About so many probes more than those that are timed tell round-trip times.
const RTT_PROBES: usize = 32_000;

/// Sends each of the orders, all at once, until `probes` are sent.
pub(super) fn flood(
    orders: &[ProbeOrder],
    probes: u32,
    receive: ReceiveHook,
    outlet: Outlet,
) -> Result<Flooded> {
    let ifindex = orders[0].ifindex;
    let mut transport = KernelTransport::load(LoadOptions::new(orders.len() as u32, receive))?;
    transport.attach(ifindex, false)?;
    let frames = frames(orders)?;
    let mut sender: Box<dyn Sender> = match outlet {
        Outlet::PacketSocket => Box::new(PacketSender::new(ifindex, frames)?),
        Outlet::FrameSocket => Box::new(FrameSocket::new(ifindex, MARK, &frames)?),
    };
    let mut burst = |transport: &mut KernelTransport| -> Result<u64> {
        let sent_ns = match outlet {
            Outlet::PacketSocket => 0,
            Outlet::FrameSocket => monotonic_ns(),
        };
        for order in orders {
            transport.arm(order, COOKIE, sent_ns);
        }
        sender.send_all()?;
        Ok(collect(transport, orders))
    };

    let softirq_before = cpu::softirq_threads_time()?;
    let cpu_before = cpu::thread_time();
    let begin = Instant::now();
    let (mut sent, mut answered) = (0, 0);
    while sent < u64::from(probes) {
        answered += burst(&mut transport)?;
        sent += orders.len() as u64;
    }
    let elapsed = begin.elapsed();
    let cpu = cpu::thread_time() - cpu_before + (cpu::softirq_threads_time()? - softirq_before);

    let mut rtts_us = Vec::new();
    for _ in 0..RTT_PROBES.div_ceil(orders.len()) {
        burst(&mut transport)?;
        rtts_us.extend(orders.iter().filter_map(|order| {
            let stamps = transport.read(order.slot);
            Some((stamps.received_ns? - stamps.sent_ns?) as f64 / 1e3)
        }));
    }
    let stamped = transport.counters()?.stamped;
    let passes_hook = outlet == Outlet::PacketSocket;
    ensure!(
        passes_hook == (stamped != 0),
        "{outlet:?}: {stamped} stamps"
    );
    Ok(Flooded {
        run: Run {
            sent,
            answered,
            elapsed,
            cpu,
        },
        rtt_us: [0.5, 0.99].map(|fraction| quantile(rtts_us.iter().copied(), fraction)),
    })
}

/// Sends the same frames at each call.
trait Sender {
    fn send_all(&mut self) -> Result<()>;
}

impl Sender for FrameSocket {
    fn send_all(&mut self) -> Result<()> {
        FrameSocket::send_all(self)
    }
}

struct PacketSender {
    socket: OwnedFd,
    messages: Vec<libc::mmsghdr>,
    // The messages point to these, and these to the frames.
    _vectors: Vec<libc::iovec>,
    _frames: Vec<Vec<u8>>,
}

impl PacketSender {
    fn new(outlet: Ifindex, mut frames: Vec<Vec<u8>>) -> Result<Self> {
        let mut vectors = vectors(&mut frames);
        Ok(Self {
            socket: packet_socket(outlet, MARK)?,
            messages: vectors.iter_mut().map(message).collect(),
            _vectors: vectors,
            _frames: frames,
        })
    }
}

impl Sender for PacketSender {
    fn send_all(&mut self) -> Result<()> {
        // SAFETY: each message points to a vector and each vector to a frame; all of them live as long as `self`.
        let count = unsafe {
            libc::sendmmsg(
                self.socket.as_raw_fd(),
                self.messages.as_mut_ptr(),
                self.messages.len() as u32,
                0,
            )
        };
        ensure!(
            count as usize == self.messages.len(),
            "sendmmsg: {count}, {}",
            io::Error::last_os_error()
        );
        Ok(())
    }
}

/// The clock of the programs' stamps.
fn monotonic_ns() -> u64 {
    // SAFETY: a plain system call that fills the structure.
    let time = unsafe {
        let mut time: libc::timespec = mem::zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time);
        time
    };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
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
