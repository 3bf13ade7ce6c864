//! How probes leave: as frames where hooks see them, by sockets everywhere else.

use std::{
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use super::{
    Prober,
    flights::{Flight, Number},
    now,
    outlet::{Exit, Outlet, PAYLOAD_BYTES},
    schedule::Due,
    ways::{Hop, Way},
};
use crate::{
    network::LinkLayer,
    probe::{LinkHeader, ProbeOrder, SendResult},
    script::probe::{Loss, Origin, Outcome, PathKey},
    units::SlotId,
};

/// Probes sent before replies are read again, however many are due.
const BATCH_MAX: usize = 1_024;

/// Outcomes that nobody has asked for: with more, nothing further is sent, and slots are missed as they are in a stall.
const OUTCOMES_MAX: usize = 65_536;

/// Sockets that are open before those that nobody uses are closed.
const OUTLETS_MAX: usize = 128;

/// Further sockets of one exit, while the buffers of the others are full: a process without privileges gets small ones.
const SPARES_MAX: u8 = 8;

/// Probes that wait for their next hop at most.
const HELD_MAX: usize = 4_096;

/// How often it is looked whether the next hop is known.
pub(super) const HELD_EVERY: Duration = Duration::from_millis(10);

/// So long the kernel asks for a neighbour before it gives up, and a little more.
const HELD_FOR: Duration = Duration::from_millis(3_200);

/// A probe that can leave as a frame alone, and waits for the address of its next hop.
#[derive(Debug)]
pub(super) struct Held {
    due: Due,
    since: Instant,
}

/// A frame that is to be sent with others.
#[derive(Debug)]
pub(super) struct Framed {
    number: Number,
    order: ProbeOrder,
    /// The socket that serves as well.
    exit: Option<Exit>,
}

impl Prober {
    /// Sends what is due.
    pub(super) fn send_due(&mut self, time: Instant) {
        let changed = self.ways.refresh();
        if changed {
            self.follow_interfaces();
        }
        for held in std::mem::take(&mut self.held) {
            self.probe(held.due, Some(held.since), time);
        }
        for _ in 0..BATCH_MAX {
            if self.outcomes.len() >= OUTCOMES_MAX {
                break;
            }
            let Some(due) = self.schedule.take(time) else {
                break;
            };
            self.probe(due, None, time);
        }
        self.send_frames();
    }

    /// Hooks end with their device, and sockets that were bound to it are of no use.
    fn follow_interfaces(&mut self) {
        if let Some(frames) = &mut self.frames {
            for ifindex in frames.interfaces() {
                if !self.ways.exists(ifindex) {
                    frames.forget(ifindex);
                }
            }
        }
        let ways = &mut self.ways;
        for outlet in &mut self.outlets {
            outlet.take_if(|outlet| {
                let ifindex = outlet.exit.ifindex();
                ifindex.is_some_and(|ifindex| !ways.exists(ifindex))
            });
        }
    }

    fn probe(&mut self, due: Due, held_since: Option<Instant>, time: Instant) {
        let Some(path) = self.schedule.key(due.place).cloned() else {
            return;
        };
        match self.ways.way(&path, time) {
            Err(loss) => self.refuse(path, &due, None, loss),
            Ok(way) => {
                if self.leave_as_frame(&path, &due, &way, time) {
                    return;
                }
                let waits = self.may_wait(&path, &way, time);
                match (way.exit, way.hop) {
                    (_, Some(hop)) if waits => self.hold(path, due, &hop, held_since, time),
                    (Some(exit), _) => self.leave(path, &due, exit),
                    (None, Some(_)) => {
                        self.refuse(path, &due, None, Loss::NotSent(libc::ENETUNREACH));
                    }
                    (None, None) => {
                        self.refuse(path, &due, None, Loss::NotSent(libc::ENETUNREACH));
                    }
                }
            }
        }
    }

    /// Whether a probe waits until a frame can take it. A strict filter of return paths drops replies by an interface that the routes
    /// back do not lead to: hooks see these before it, and a socket never would.
    fn may_wait(&mut self, path: &PathKey, way: &Way, time: Instant) -> bool {
        let (Some(hop), Some(frames)) = (way.hop, &mut self.frames) else {
            return false;
        };
        let by_interface = matches!(path.origin, Origin::Interface(_));
        // With an address to send to, something else was in the way, and waiting does not help.
        by_interface
            && self.ways.header(&hop, time).is_none()
            && frames.serves(hop.ifindex, hop.layer == LinkLayer::Bare, time)
    }

    /// Sends a probe by the eBPF engine, soon; false if that cannot be.
    fn leave_as_frame(&mut self, path: &PathKey, due: &Due, way: &Way, time: Instant) -> bool {
        let Some(hop) = way.hop.filter(|_| self.frames.is_some()) else {
            return false;
        };
        let Some(link) = self.ways.header(&hop, time) else {
            return false;
        };
        // Replies that hooks miss are heard here, and ICMP errors.
        let ipv6 = path.destination.is_ipv6();
        if self.outlet(Exit::Any { ipv6 }, 0, time).is_err() {
            return false;
        }
        let (Some(number), Some(frames)) = (self.flights.number(), &mut self.frames) else {
            return false;
        };
        let bare = hop.layer == LinkLayer::Bare;
        if !frames.has(number) || !frames.serves(hop.ifindex, bare, time) {
            return false;
        }
        let sent = now();
        let flight = Flight {
            place: due.place,
            due: due.at,
            sent,
            sent_ns: self.nanoseconds(sent),
            target: path.destination,
            sequence: due.sequence,
            ident: self.ident,
            cookie: [0; pingu_common::COOKIE_WORDS],
            source: Some(hop.source),
            // Other replies count whichever way they come, as they do for a socket.
            ifindex: matches!(path.origin, Origin::Interface(_)).then_some(hop.ifindex.0),
            framed: true,
        };
        let order = frame(&flight, number, &hop, link);
        self.flights.depart(flight);
        let exit = way.exit;
        self.framed.push(Framed {
            number,
            order,
            exit,
        });
        true
    }

    fn send_frames(&mut self) {
        let framed = std::mem::take(&mut self.framed);
        let Some(frames) = self.frames.as_mut().filter(|_| !framed.is_empty()) else {
            return;
        };
        let orders: Vec<ProbeOrder> = framed.iter().map(|framed| framed.order).collect();
        let mut results = Vec::with_capacity(orders.len());
        let sent = now();
        frames.send(&orders, &mut results);
        let sent_ns = self.nanoseconds(sent);
        for (one, result) in framed.into_iter().zip(results) {
            let Some(frames) = &mut self.frames else {
                return;
            };
            match result {
                SendResult::Sent => {
                    if let Some(flight) = self.flights.get_mut(one.number) {
                        flight.cookie = frames.cookie(one.number);
                        flight.sent_ns = sent_ns;
                    }
                    let turn = self.flights.turn(one.number);
                    frames.watch(one.number, turn, sent);
                }
                SendResult::Dropped(errno) => {
                    if let Some(flight) = self.flights.land(one.number) {
                        self.lose(&flight, Loss::NotSent(errno));
                    }
                }
                SendResult::NotSent(errno) => {
                    if matches!(errno, libc::ENODEV | libc::ENXIO) {
                        frames.forget(one.order.ifindex);
                    }
                    self.send_again(&one, errno);
                }
            }
        }
    }

    /// A frame was refused: the socket tries, and its answer counts.
    fn send_again(&mut self, framed: &Framed, errno: i32) {
        let Some(flight) = self.flights.land(framed.number) else {
            return;
        };
        let due = Due {
            place: flight.place,
            at: flight.due,
            sequence: flight.sequence,
        };
        let path = self.schedule.key(flight.place).cloned();
        match (framed.exit, path) {
            (Some(exit), Some(path)) => self.leave(path, &due, exit),
            (None, Some(path)) => {
                self.refuse(path, &due, flight.source, Loss::NotSent(errno));
            }
            (_, None) => {}
        }
    }

    /// A probe waits until the kernel knows its next hop's address, or gives up asking for it.
    fn hold(&mut self, path: PathKey, due: Due, hop: &Hop, since: Option<Instant>, time: Instant) {
        if since.is_none() {
            self.ways.solicit(hop);
        }
        let since = since.unwrap_or(time);
        let patience = HELD_FOR.min(self.pace.timeout);
        if time >= since + patience || self.held.len() >= HELD_MAX {
            self.refuse(path, &due, Some(hop.source), Loss::NoNeighbour);
        } else {
            self.held.push(Held { due, since });
        }
    }

    /// Sends a probe by the socket of its exit.
    fn leave(&mut self, path: PathKey, due: &Due, exit: Exit) {
        if let Err(error) = self.try_leave(&path, due, exit, 0) {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            self.refuse(path, due, exit.source(), Loss::NotSent(errno));
        }
    }

    fn try_leave(&mut self, path: &PathKey, due: &Due, exit: Exit, spare: u8) -> io::Result<()> {
        let sent = now();
        let place = self.outlet(exit, spare, sent)?;
        let number = self.flights.number();
        let number = number.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOBUFS))?;
        let sent_ns = self.nanoseconds(sent);
        let outlet = self.outlets[place]
            .as_mut()
            .expect("the outlet was found just above");
        outlet.used = sent;
        let flight = Flight {
            place: due.place,
            due: due.at,
            sent,
            sent_ns,
            target: path.destination,
            sequence: due.sequence,
            ident: outlet.ident,
            cookie: self.cookies.next(),
            source: exit.source(),
            ifindex: exit.ifindex().map(|ifindex| ifindex.0),
            framed: false,
        };
        match outlet.send(number, &flight) {
            Ok(()) => {
                self.flights.depart(flight);
                Ok(())
            }
            // Its buffer is full of probes whose next hops do not answer. Others shall not suffer for it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && spare < SPARES_MAX => {
                self.try_leave(path, due, exit, spare + 1)
            }
            Err(error) => {
                // A device that is gone stays so for sockets that were bound to it.
                if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)) {
                    self.outlets[place] = None;
                }
                Err(error)
            }
        }
    }

    /// The place of an exit's socket, which is opened where there is none yet.
    fn outlet(&mut self, exit: Exit, spare: u8, time: Instant) -> io::Result<usize> {
        let is_its = |outlet: &Option<Outlet>| {
            let outlet = outlet.as_ref();
            outlet.is_some_and(|outlet| outlet.exit == exit && outlet.spare == spare)
        };
        if let Some(place) = self.outlets.iter().position(is_its) {
            return Ok(place);
        }
        if self.outlets.len() >= OUTLETS_MAX {
            let idle = self.pace.timeout + 2 * self.pace.interval;
            for outlet in &mut self.outlets {
                outlet.take_if(|outlet| outlet.used + idle < time);
            }
        }
        let raw = self.pace.privileged;
        let mut outlet = Outlet::open(exit, raw, self.first_word, self.ident, time)?;
        outlet.spare = spare;
        let place = match self.outlets.iter().position(Option::is_none) {
            Some(place) => place,
            None => {
                self.outlets.push(None);
                self.outlets.len() - 1
            }
        };
        self.bell.add(outlet.as_fd(), place as u32)?;
        self.outlets[place] = Some(outlet);
        Ok(place)
    }

    fn refuse(&mut self, path: PathKey, due: &Due, source: Option<std::net::IpAddr>, loss: Loss) {
        self.outcomes.push_back(Outcome {
            path,
            source,
            sent_at: due.at,
            result: Err(loss),
        });
    }
}

fn frame(flight: &Flight, number: Number, hop: &Hop, link: LinkHeader) -> ProbeOrder {
    ProbeOrder {
        slot: SlotId(number.0),
        ifindex: hop.ifindex,
        link,
        source: hop.source,
        target: flight.target,
        ident: flight.ident,
        sequence: flight.sequence,
        payload_bytes: PAYLOAD_BYTES,
        reflect: None,
    }
}
