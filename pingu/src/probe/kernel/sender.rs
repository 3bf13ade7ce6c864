//! One packet socket for each interface, and batches of frames. No allocation for a probe, and no interface waits for another.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

use pingu_common::{
    COOKIE_WORDS, MARK, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN, fan::FAN_PROBES_MAX,
    reflector::REFLECTED_PAYLOAD_BYTES_MIN,
};
use rand::{RngCore, SeedableRng, rngs::StdRng};

pub(super) mod batch;

use self::batch::{BATCH, Batch};
use super::{
    fan::{FanOut, same_shape},
    slots::Slots,
};
use crate::{
    probe::{
        ProbeOrder, SendResult,
        socket::clockwork::{self, Clockwork},
    },
    units::Ifindex,
};

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
            } else if order.payload_bytes < payload_bytes_min(order)
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

fn payload_bytes_min(order: &ProbeOrder) -> u16 {
    match order.reflect {
        Some(_) => REFLECTED_PAYLOAD_BYTES_MIN,
        None => PAYLOAD_BYTES_MIN,
    }
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
