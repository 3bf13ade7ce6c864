//! One packet socket for each interface, one for frames of several, and batches of frames. No allocation for a probe, and no interface
//! waits for another: what finds no room in the common socket leaves by its own.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd, OwnedFd},
};

use pingu_common::{COOKIE_WORDS, PAYLOAD_BYTES_MAX, fan::FAN_PROBES_MAX};
use rand::{RngCore, SeedableRng, rngs::StdRng};

pub(super) mod batch;

use self::batch::{BATCH, Batch};
use super::{
    fan::{FanOut, same_shape},
    packet_socket,
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
const FAN_RUN_MIN: usize = 8;

/// Sends orders and arms their slots.
pub(in crate::probe) struct Sender {
    /// In order of their interfaces' numbers.
    outlets: Vec<Outlet>,
    /// Places of outlets that have something to send; empty between calls.
    busy: Vec<usize>,
    batch: Batch,
    /// Places of orders that leave each for itself; empty between calls.
    single: Vec<u32>,
    /// Bound to no interface; none where it could not be had.
    common: Option<OwnedFd>,
    /// Places of orders that leave by it; empty between calls.
    shared: Vec<u32>,
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
pub(crate) struct Cookies {
    /// Cryptographic, and seeded by the kernel: nobody who sees some cookies can guess another.
    random: StdRng,
    /// What all begin with, where a socket's filter asks for it.
    first_word: Option<u32>,
}

impl Cookies {
    pub(crate) fn new(first_word: Option<u32>) -> Self {
        Self {
            random: StdRng::from_os_rng(),
            first_word,
        }
    }

    pub(crate) fn next(&mut self) -> [u32; COOKIE_WORDS] {
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
    /// Something that left by the common socket did not pass the egress hook: the device may be another one of that number, which only
    /// the interface's own socket tells.
    is_odd: bool,
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
            common: None,
            shared: Vec::new(),
            cookies: Cookies::new(first_word),
        }
    }

    /// Lets all further cookies begin so.
    pub(super) fn begin_cookies(&mut self, first_word: u32) {
        self.cookies.first_word = Some(first_word);
    }

    /// Opens a socket for an interface, with the mark.
    pub(super) fn open_marked(ifindex: Ifindex, bare: bool) -> io::Result<OwnedFd> {
        let socket = packet_socket::open(ifindex, bare)?;
        packet_socket::mark(&socket)?;
        Ok(socket)
    }

    /// Lets an interface's probes leave by such a socket.
    pub(super) fn adopt(&mut self, ifindex: Ifindex, bare: bool, socket: OwnedFd) {
        self.add(ifindex, bare, socket);
        if self.common.is_none() {
            // Without it each interface's own serves.
            let marked = |socket| packet_socket::mark(&socket).map(|()| socket);
            self.common = packet_socket::open_for_all().and_then(marked).ok();
        }
    }

    /// Opens the interface's socket, without the mark, and has it tell when requests leave.
    pub(in crate::probe) fn open_stamping(
        &mut self,
        ifindex: Ifindex,
        bare: bool,
    ) -> io::Result<()> {
        let socket = packet_socket::open(ifindex, bare)?;
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
                is_odd: false,
                queue: Vec::new(),
            },
        );
    }

    /// Lets nothing leave by the interface any more. Its socket closes when it is dropped, which takes the kernel milliseconds.
    pub(in crate::probe) fn close(&mut self, ifindex: Ifindex) -> Option<OwnedFd> {
        let found = self
            .outlets
            .binary_search_by_key(&ifindex, |outlet| outlet.ifindex);
        Some(self.outlets.remove(found.ok()?).socket)
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
        if self.busy.len() > 1 {
            self.send_together(slots, orders, results);
        }
        while let Some(outlet) = self.busy.pop() {
            self.send_by(outlet, slots, stamping, orders, results);
        }
    }

    /// Sends what waits for several interfaces, a few probes for each, in one system call.
    fn send_together(&mut self, slots: &Slots, orders: &[ProbeOrder], results: &mut [SendResult]) {
        let Some(common) = &self.common else {
            return;
        };
        for outlet in &self.busy {
            let outlet = &mut self.outlets[*outlet];
            if !outlet.bare && !outlet.is_odd && outlet.queue.len() < FAN_RUN_MIN {
                self.shared.append(&mut outlet.queue);
            }
        }
        let mut is_full = false;
        for places in self.shared.chunks(BATCH) {
            let mut left = places;
            if !is_full {
                let cookies = &mut self.cookies;
                self.batch
                    .fill(true, orders, places, results, slots, cookies);
                left = self.batch.flush_for_all(common, orders, results, slots);
                is_full = !left.is_empty();
            }
            for place in left {
                outlet_of(&mut self.outlets, &orders[*place as usize])
                    .queue
                    .push(*place);
            }
        }
        for place in self.shared.drain(..) {
            let order = &orders[place as usize];
            let is_stamped = || slots.read(order.slot).sent_ns.is_some();
            if results[place as usize] == SendResult::Sent && !is_stamped() {
                outlet_of(&mut self.outlets, order).is_odd = true;
            }
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
        if outlet.queue.len() >= FAN_RUN_MIN {
            // Uplinks take turns, and several may share the interface.
            outlet
                .queue
                .sort_by_key(|place| kind(&orders[*place as usize]));
        }
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
            let cookies = &mut self.cookies;
            self.batch
                .fill(outlet.bare, orders, places, results, slots, cookies);
            let (batch, socket) = (&mut self.batch, &outlet.socket);
            refused = batch.flush(socket, stamping, orders, results, slots);
        }
        self.single.clear();
        outlet.queue.clear();
    }
}

/// What tells the shapes of orders apart that leave by one interface, or most of them.
fn kind(order: &ProbeOrder) -> (IpAddr, bool, u16) {
    let ipv4 = order.target.is_ipv4();
    (order.source, ipv4, order.payload_bytes)
}

/// The outlet by which an order, which was queued there, leaves.
fn outlet_of<'a>(outlets: &'a mut [Outlet], order: &ProbeOrder) -> &'a mut Outlet {
    let found = outlets.binary_search_by_key(&order.ifindex, |outlet| outlet.ifindex);
    &mut outlets[found.expect("it was queued at an outlet of its interface")]
}
