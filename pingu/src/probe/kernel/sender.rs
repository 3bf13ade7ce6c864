//! One packet socket for each interface, and batches of frames. No allocation for a probe, and no interface waits for another.

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

use pingu_common::{COOKIE_WORDS, MARK, PAYLOAD_BYTES_MAX, Payload, fan::FAN_PROBES_MAX};
use rand::{RngCore, SeedableRng, rngs::StdRng};

use super::{
    fan::{FanOut, same_shape},
    slots::Slots,
};
use crate::{
    probe::{
        ProbeOrder, SendResult, packet,
        socket::clockwork::{self, Clockwork},
    },
    units::Ifindex,
};

/// Frames handed to the kernel at once: enough to make the system call's own cost (0.2 us) small against a packet's (1 us), few
/// enough to stay in the first-level cache.
const BATCH: usize = 64;

/// Fewer probes of one shape leave each for itself: what templates save is little then, and where a reply comes within microseconds
/// it would be seen a few of them later.
const FAN_RUN_MIN: usize = 16;

/// Sends orders and arms their slots.
pub(in crate::probe) struct Sender {
    /// In order of their interfaces' numbers.
    outlets: Vec<Outlet>,
    /// Places of outlets that have something to send; empty between calls.
    busy: Vec<usize>,
    batch: Batch,
    /// Places of orders that leave each for itself; empty between calls.
    single: Vec<u32>,
    cookies: Cookies,
}

/// Who writes down when a request left.
pub(in crate::probe) enum Stamping<'a> {
    /// The egress program, which makes probes of templates, too.
    Hooks(&'a mut FanOut),
    /// The socket's error queue.
    Sockets(&'a mut Clockwork),
}

/// Where cookies come from.
pub(in crate::probe) struct Cookies {
    /// Cryptographic, and seeded by the kernel: nobody who sees some cookies can guess another.
    random: StdRng,
    /// What all begin with, where a socket's filter asks for it.
    first_word: Option<u32>,
}

impl Cookies {
    pub(in crate::probe) fn new(first_word: Option<u32>) -> Self {
        Self {
            random: StdRng::from_os_rng(),
            first_word,
        }
    }

    pub(in crate::probe) fn next(&mut self) -> [u32; COOKIE_WORDS] {
        let mut cookie = std::array::from_fn(|_| self.random.next_u32());
        if let Some(word) = self.first_word {
            cookie[0] = word;
        }
        cookie
    }
}

struct Outlet {
    ifindex: Ifindex,
    bare: bool,
    socket: OwnedFd,
    /// Places of orders that wait to be sent; empty between calls.
    queue: Vec<u32>,
}

impl Sender {
    /// `first_word` is what all cookies shall begin with.
    pub(in crate::probe) fn new(first_word: Option<u32>) -> Self {
        Self {
            outlets: Vec::new(),
            busy: Vec::new(),
            batch: Batch::new(),
            single: Vec::new(),
            cookies: Cookies::new(first_word),
        }
    }

    /// Opens the interface's socket.
    pub(super) fn open(&mut self, ifindex: Ifindex, bare: bool) -> io::Result<()> {
        let socket = open_socket(ifindex, bare)?;
        mark(&socket)?;
        self.add(ifindex, bare, socket);
        Ok(())
    }

    /// Opens the interface's socket, without the mark, and has it tell when requests leave.
    pub(in crate::probe) fn open_stamping(
        &mut self,
        ifindex: Ifindex,
        bare: bool,
    ) -> io::Result<()> {
        let socket = open_socket(ifindex, bare)?;
        clockwork::tell_departures(socket.as_fd())?;
        self.add(ifindex, bare, socket);
        Ok(())
    }

    fn add(&mut self, ifindex: Ifindex, bare: bool, socket: OwnedFd) {
        self.close(ifindex);
        let place = self
            .outlets
            .partition_point(|outlet| outlet.ifindex < ifindex);
        self.outlets.insert(
            place,
            Outlet {
                ifindex,
                bare,
                socket,
                queue: Vec::new(),
            },
        );
    }

    /// Closes the interface's socket.
    pub(in crate::probe) fn close(&mut self, ifindex: Ifindex) {
        self.outlets.retain(|outlet| outlet.ifindex != ifindex);
    }

    pub(in crate::probe) fn send(
        &mut self,
        slots: &Slots,
        stamping: &mut Stamping<'_>,
        orders: &[ProbeOrder],
        results: &mut Vec<SendResult>,
    ) {
        results.clear();
        results.resize(orders.len(), SendResult::NotSent(libc::ENODEV));
        for (place, order) in orders.iter().enumerate() {
            // A slot must not keep what it held, even if its new probe is not sent.
            slots.forget(order.slot);
            if order.slot.0 >= slots.count() {
                results[place] = SendResult::NotSent(libc::EINVAL);
            } else if order.payload_bytes < order.payload_bytes_min()
                || order.payload_bytes > PAYLOAD_BYTES_MAX
            {
                results[place] = SendResult::NotSent(libc::EMSGSIZE);
            } else if let Ok(outlet) = self
                .outlets
                .binary_search_by_key(&order.ifindex, |outlet| outlet.ifindex)
            {
                if self.outlets[outlet].queue.is_empty() {
                    self.busy.push(outlet);
                }
                self.outlets[outlet].queue.push(place as u32);
            }
        }
        while let Some(outlet) = self.busy.pop() {
            self.send_by(outlet, slots, stamping, orders, results);
        }
    }

    /// Sends what waits for one interface: probes of one shape in templates, the rest in batches of single frames.
    fn send_by(
        &mut self,
        outlet: usize,
        slots: &Slots,
        stamping: &mut Stamping<'_>,
        orders: &[ProbeOrder],
        results: &mut [SendResult],
    ) {
        let outlet = &mut self.outlets[outlet];
        let mut refused = None;
        let refuse = |places: &[u32], errno, results: &mut [SendResult]| {
            for place in places {
                results[*place as usize] = SendResult::NotSent(errno);
            }
        };
        let shape = |a: &u32, b: &u32| same_shape(&orders[*a as usize], &orders[*b as usize]);
        for run in outlet.queue.chunk_by(shape) {
            let Stamping::Hooks(fan) = stamping else {
                self.single.extend(run);
                continue;
            };
            if outlet.bare || run.len() < FAN_RUN_MIN {
                self.single.extend(run);
                continue;
            }
            for places in run.chunks(FAN_PROBES_MAX) {
                if let Some(errno) = refused {
                    refuse(places, errno, results);
                    continue;
                }
                let cookies = &mut self.cookies;
                refused = fan.send(&outlet.socket, orders, places, results, slots, cookies);
            }
        }
        for places in self.single.chunks(BATCH) {
            if let Some(errno) = refused {
                refuse(places, errno, results);
                continue;
            }
            self.batch.fill(
                outlet.bare,
                outlet.ifindex,
                orders,
                places,
                results,
                slots,
                &mut self.cookies,
            );
            let (batch, socket) = (&mut self.batch, &outlet.socket);
            refused = batch.flush(socket, stamping, orders, results, slots);
        }
        self.single.clear();
        outlet.queue.clear();
    }
}

/// Frames of one interface on their way to the kernel, in buffers that are allocated once. Batches of larger probes than any before grow
/// them.
struct Batch {
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
    fn new() -> Self {
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
    fn fill(
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
            self.addresses
                .push(link_address(ifindex, packet::ether_type(order.target)));
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
    fn flush(
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
pub(super) fn takes_no_more(errno: i32) -> bool {
    matches!(
        errno,
        libc::EAGAIN | libc::ENOBUFS | libc::ENETDOWN | libc::ENXIO | libc::ENODEV
    )
}

fn open_socket(ifindex: Ifindex, bare: bool) -> io::Result<OwnedFd> {
    let kind = if bare {
        libc::SOCK_DGRAM
    } else {
        libc::SOCK_RAW
    };
    // Protocol 0 receives nothing: the kernel copies no packet to the socket.
    // SAFETY: a plain system call.
    let socket = unsafe {
        libc::socket(
            libc::AF_PACKET,
            kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
            0,
        )
    };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was opened just above and is nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let address = link_address(ifindex, 0);
    // SAFETY: the address outlives the call, and its length is right.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            ptr::from_ref(&address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if bound != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// By the mark the egress program knows its own.
fn mark(socket: &OwnedFd) -> io::Result<()> {
    let mark = MARK;
    // SAFETY: the option is a number of four bytes that outlives the call.
    let marked = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MARK,
            ptr::from_ref(&mark).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if marked == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn link_address(ifindex: Ifindex, ether_type: u16) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ether_type.to_be(),
        sll_ifindex: ifindex.0 as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}
