//! What comes back: replies and errors from sockets, and what hooks have seen.

use std::{
    net::IpAddr,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use super::{
    Prober,
    arrival::{self, Envelope},
    flights::{Echo, Flight, Number},
    now,
};
use crate::{
    probe::socket::inbox::{Message, Queue},
    script::probe::Loss,
};

/// Replies read from one socket in a row; a flood of them does not hold up probes.
const READ_MAX: usize = 16_384;

/// Errors read from one socket in a row.
const ERRORS_MAX: usize = 4_096;

/// `SO_EE_ORIGIN_ICMP` and `SO_EE_ORIGIN_ICMP6`: an ICMP error came, from elsewhere or from this machine.
const ICMP_ORIGINS: [u8; 2] = [2, 3];

/// "Host unreachable" and its like in ICMPv6, which a machine tells itself when a neighbour does not answer.
const NO_NEIGHBOUR: [(u8, u8); 2] = [(3, 1), (1, 3)];

/// What a socket had to say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    echo: Echo,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// A reply, when it came by the kernel's clock, and the address that it came to.
    Reply {
        time_ns: Option<u64>,
        to: Option<IpAddr>,
    },
    /// An ICMP error, and who sent it.
    Error {
        kind: u8,
        code: u8,
        from: Option<IpAddr>,
    },
}

impl Prober {
    /// Takes in all that has come.
    pub(super) fn read_all(&mut self) {
        let told = self.bell.ask();
        if told.is_empty() {
            return;
        }
        self.clockwork.look();
        for number in told {
            let Some(Some(outlet)) = self.outlets.get(number as usize) else {
                continue;
            };
            let mut read = std::mem::take(&mut self.read);
            let inbox = &mut self.clockwork.inbox;
            let raw = outlet.raw;
            let errors = inbox.take(outlet.as_fd(), Queue::Errors, ERRORS_MAX, |message| {
                read.extend(error_in(message));
            });
            let replies = inbox.take(outlet.as_fd(), Queue::Received, READ_MAX, |message| {
                read.extend(reply_in(message, raw));
            });
            for error in [errors, replies].into_iter().filter_map(Result::err) {
                tracing::debug!(%error, "cannot read replies");
            }
            for one in read.drain(..) {
                self.take(&one);
            }
            self.read = read;
        }
        self.clockwork.clock.forget_steps();
    }

    /// Takes in what one message says.
    fn take(&mut self, read: &Read) {
        let Some((number, flight)) = self.flights.find(&read.echo) else {
            return;
        };
        match read.what {
            What::Reply { time_ns, to } => {
                let rtt = self.round_trip(number, flight, time_ns);
                let source = to.or(flight.source);
                if self.flights.is_in_time(rtt)
                    && let Some(flight) = self.land(number)
                {
                    self.tell(&flight, source, Ok(rtt));
                }
            }
            What::Error { kind, code, from } => {
                let is_own = from.is_some_and(|from| self.ways.is_own(from));
                let loss = if is_own && NO_NEIGHBOUR.contains(&(kind, code)) {
                    Loss::NoNeighbour
                } else {
                    Loss::Error { kind, code }
                };
                if let Some(flight) = self.land(number) {
                    self.lose(&flight, loss);
                }
            }
        }
    }

    /// How long a reply took that a socket received at this time of the kernel's.
    fn round_trip(&self, number: Number, flight: &Flight, time_ns: Option<u64>) -> Duration {
        let frames = self.frames.as_ref().filter(|_| flight.framed);
        let stamps = frames.map(|frames| frames.read(number));
        if let Some(rtt) = stamps.and_then(|stamps| stamps.rtt()) {
            return rtt;
        }
        let stamped_ns = stamps.and_then(|stamps| stamps.sent_ns);
        let sent_ns = stamped_ns.unwrap_or(flight.sent_ns);
        let now_ns = self.nanoseconds(now());
        let clock = &self.clockwork.clock;
        match time_ns.and_then(|ns| clock.monotonic(ns, sent_ns, now_ns)) {
            Some(ns) => Duration::from_nanos(ns.saturating_sub(sent_ns)),
            // A clock was set meanwhile. The reply came, and nothing says that it came late.
            None => Duration::from_nanos(now_ns.saturating_sub(sent_ns)).min(self.pace.timeout),
        }
    }

    /// Asks the hooks about probes whose turn it is.
    pub(super) fn look(&mut self, time: Instant) {
        while let Some(frames) = &mut self.frames
            && let Some((number, turn)) = frames.take_look(time)
        {
            if !self.flights.is_aloft(number, turn) {
                continue;
            }
            let rtt = frames.read(number).rtt();
            let in_time = rtt.filter(|rtt| self.flights.is_in_time(*rtt));
            match (in_time, rtt) {
                (Some(rtt), _) => {
                    if let Some(flight) = self.land(number) {
                        self.tell(&flight, flight.source, Ok(rtt));
                    }
                }
                // It came too late.
                (None, Some(_)) => {}
                (None, None) => {
                    if let Some(flight) = self.flights.get_mut(number) {
                        frames.watch_on(number, turn, flight.sent, time);
                    }
                }
            }
        }
    }

    /// Tells of the probes whose time is over. What has come was taken in before.
    pub(super) fn expire(&mut self, time: Instant) {
        while let Some((number, flight)) = self.flights.expire(time) {
            let frames = self.frames.as_mut().filter(|_| flight.framed);
            let rtt = frames.and_then(|frames| {
                let rtt = frames.read(number).rtt();
                frames.disarm(number);
                rtt
            });
            match rtt.filter(|rtt| self.flights.is_in_time(*rtt)) {
                Some(rtt) => self.tell(&flight, flight.source, Ok(rtt)),
                None => self.lose(&flight, Loss::NoReply),
            }
        }
    }

    fn land(&mut self, number: Number) -> Option<Flight> {
        let flight = self.flights.land(number)?;
        if let Some(frames) = self.frames.as_mut().filter(|_| flight.framed) {
            frames.disarm(number);
        }
        Some(flight)
    }
}

fn reply_in(message: &Message<'_>, raw: bool) -> Option<Read> {
    let from = Envelope {
        peer: message.from?,
        ifindex: message.ifindex,
    };
    // One that is longer than what is kept is none of ours.
    let is_whole = message.packet.len() == message.bytes;
    let echo = arrival::reply(message.packet, raw, from).filter(|_| is_whole)?;
    let what = What::Reply {
        time_ns: message.time_ns,
        to: message.to,
    };
    Some(Read { echo, what })
}

fn error_in(message: &Message<'_>) -> Option<Read> {
    let error = message
        .error
        .filter(|error| ICMP_ORIGINS.contains(&error.origin))?;
    // The kernel gave it to the socket that had sent the request.
    let to = Envelope {
        peer: message.from?,
        ifindex: None,
    };
    let echo = arrival::quoted(message.packet, to)?;
    let what = What::Error {
        kind: error.kind,
        code: error.code,
        from: error.offender,
    };
    Some(Read { echo, what })
}
