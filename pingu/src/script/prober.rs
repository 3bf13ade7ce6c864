//! Sends the probes of a script and tells what became of each, once. Paths follow the kernel: where a probe leaves is decided when it
//! leaves, never before. Alone here the clock is read; when what is due, and which reply is whose, is decided without it.

use std::{
    collections::VecDeque,
    net::IpAddr,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use self::{
    arrival::Envelope,
    bell::{Bell, Patience},
    flights::{Echo, Flight, Flights},
    outlet::{Exit, Outlet},
    schedule::{Due, Schedule},
    ways::Ways,
};
use super::probe::{Loss, Origin, Outcome, Pace, PathKey};
use crate::probe::{
    kernel::sender::Cookies,
    socket::{
        clockwork::Clockwork,
        inbox::{Message, Queue},
    },
};

mod arrival;
mod bell;
mod error;
mod flights;
mod news;
mod outlet;
mod route;
mod schedule;
mod ways;

pub use self::error::ProberError;

/// More paths than this are served together, each so much late at most: a wake-up costs more than a probe.
const ALONE_MAX: usize = 32;
const TOGETHER: Duration = Duration::from_millis(5);

/// Probes sent before replies are read again, however many are due.
const BATCH_MAX: usize = 1_024;

/// Replies read from one socket in a row; a flood of them does not hold up probes.
const READ_MAX: usize = 16_384;

/// Errors read from one socket in a row.
const ERRORS_MAX: usize = 4_096;

/// Sockets that are open before those that nobody uses are closed.
const OUTLETS_MAX: usize = 128;

/// `SO_EE_ORIGIN_ICMP` and `SO_EE_ORIGIN_ICMP6`: an ICMP error came, from elsewhere or from this machine.
const ICMP_ORIGINS: [u8; 2] = [2, 3];

/// "Host unreachable" and its like in ICMPv6, which a machine tells itself when a neighbour does not answer.
const NO_NEIGHBOUR: [(u8, u8); 2] = [(3, 1), (1, 3)];

/// Sends probes.
pub struct Prober {
    pace: Pace,
    schedule: Schedule,
    flights: Flights,
    ways: Ways,
    bell: Bell,
    /// By their numbers; one that is closed leaves its place to the next.
    outlets: Vec<Option<Outlet>>,
    clockwork: Clockwork,
    cookies: Cookies,
    first_word: u32,
    /// What happened and was not told yet.
    outcomes: VecDeque<Outcome>,
    /// What passing time is counted from: the same instant by both clocks.
    origin: (Instant, u64),
    /// When something is to be done, whatever the sockets say.
    wake: Option<Instant>,
    /// What was read from a socket; empty between calls.
    read: Vec<Read>,
}

/// What a socket had to say.
#[derive(Clone, Copy, Debug)]
struct Read {
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
    /// Without paths, in the network namespace of the calling thread. Fails where the kernel refuses the sockets that the pace asks for.
    pub fn new(pace: Pace) -> Result<Self, ProberError> {
        outlet::open(false, pace.privileged)
            .map_err(|error| ProberError::of_socket(pace.privileged, error))?;
        let first_word = rand::random();
        let clockwork = Clockwork::new();
        Ok(Self {
            pace,
            schedule: Schedule::new(pace.interval),
            flights: Flights::new(pace.timeout),
            ways: Ways::new(pace.interval).map_err(ProberError::other("a netlink socket"))?,
            bell: Bell::new().map_err(ProberError::other("a timer"))?,
            outlets: Vec::new(),
            origin: (now(), clockwork.look.monotonic_ns),
            clockwork,
            cookies: Cookies::new(Some(first_word)),
            first_word,
            outcomes: VecDeque::new(),
            wake: None,
            read: Vec::new(),
        })
    }

    /// Begins to probe a path; does nothing where that is done already.
    pub fn start(&mut self, path: PathKey, now: Instant) {
        self.schedule.start(path, now);
        self.wake = None;
    }

    /// Probes a destination no more, from this origin or from all. Of probes of it that are in flight nothing more is heard.
    pub fn stop(&mut self, destination: IpAddr, origin: Option<&Origin>) {
        let places = self.schedule.stop(destination, origin);
        self.flights.forget(&places);
        self.outcomes.retain(|outcome| {
            let path = &outcome.path;
            path.destination != destination || origin.is_some_and(|origin| path.origin != *origin)
        });
    }

    /// Waits for the next outcome, and sends what is due meanwhile. Nothing is lost if the future is dropped; while nobody waits, nothing
    /// is sent.
    pub async fn next(&mut self) -> Outcome {
        loop {
            let time = now();
            if self.wake.is_none_or(|wake| wake <= time) || self.outcomes.is_empty() {
                self.work(time);
            }
            if let Some(outcome) = self.outcomes.pop_front() {
                return outcome;
            }
            let time = now();
            let patience = if self.is_crowded() {
                Patience::Patient
            } else {
                Patience::Eager
            };
            let woken = self.bell.wait(self.wake, time, patience).await;
            if let Err(error) = woken {
                // Only without a runtime, or without descriptors: nothing that goes away by asking again at once.
                tracing::warn!(%error, "cannot wait for replies");
                tokio::time::sleep(TOGETHER).await;
            }
        }
    }

    /// Does all that is to be done at `time`.
    fn work(&mut self, time: Instant) {
        self.read_all();
        while let Some(flight) = self.flights.expire(time) {
            self.lose(&flight, Loss::NoReply);
        }
        self.ways.refresh();
        let mut sent = 0;
        while sent < BATCH_MAX
            && let Some(due) = self.schedule.take(time)
        {
            self.probe(&due, time);
            sent += 1;
        }
        let next = [self.schedule.next(), self.flights.next_deadline()];
        self.wake = next.into_iter().flatten().min();
        if self.is_crowded() {
            let look = (self.flights.len() > 0).then(|| time + TOGETHER);
            self.wake = self
                .wake
                .map(|wake| wake.max(time + TOGETHER))
                .into_iter()
                .chain(look)
                .min();
        }
    }

    fn is_crowded(&self) -> bool {
        self.schedule.len() > ALONE_MAX
    }

    fn probe(&mut self, due: &Due, time: Instant) {
        let Some(path) = self.schedule.key(due.place).cloned() else {
            return;
        };
        let result = self.ways.exit(&path, time).and_then(|exit| {
            let left = self.leave(&path, due, exit);
            left.map_err(|error| Loss::NotSent(error.raw_os_error().unwrap_or(libc::EIO)))
        });
        if let Err(loss) = result {
            self.outcomes.push_back(Outcome {
                path,
                source: None,
                sent_at: due.at,
                result: Err(loss),
            });
        }
    }

    /// Sends a probe by the socket of its exit.
    fn leave(&mut self, path: &PathKey, due: &Due, exit: Exit) -> std::io::Result<()> {
        let sent = now();
        let place = self.outlet(exit, sent)?;
        let number = self.flights.number();
        let number = number.ok_or_else(|| std::io::Error::from_raw_os_error(libc::ENOBUFS))?;
        let outlet = self.outlets[place]
            .as_mut()
            .expect("the outlet was found just above");
        outlet.used = sent;
        let flight = Flight {
            place: due.place,
            due: due.at,
            sent,
            sent_ns: self.origin.1 + (sent - self.origin.0).as_nanos() as u64,
            target: path.destination,
            sequence: due.sequence,
            ident: outlet.ident,
            cookie: self.cookies.next(),
            source: exit.source(),
            ifindex: exit.ifindex().map(|ifindex| ifindex.0),
        };
        match outlet.send(number, &flight) {
            Ok(()) => {
                self.flights.depart(flight);
                Ok(())
            }
            Err(error) => {
                // A device that is gone stays so for sockets that were bound to it.
                if exit.ifindex().is_some() {
                    self.outlets[place] = None;
                }
                Err(error)
            }
        }
    }

    /// The place of an exit's socket, which is opened where there is none yet.
    fn outlet(&mut self, exit: Exit, time: Instant) -> std::io::Result<usize> {
        let is_its = |outlet: &Option<Outlet>| outlet.as_ref().is_some_and(|o| o.exit == exit);
        if let Some(place) = self.outlets.iter().position(is_its) {
            return Ok(place);
        }
        if self.outlets.len() >= OUTLETS_MAX {
            let idle = self.pace.timeout + 2 * self.pace.interval;
            for outlet in &mut self.outlets {
                outlet.take_if(|outlet| outlet.used + idle < time);
            }
        }
        let ident = rand::random();
        let outlet = Outlet::open(exit, self.pace.privileged, self.first_word, ident, time)?;
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

    /// Takes in all that has come.
    fn read_all(&mut self) {
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
                let now_ns = self.origin.1 + (now() - self.origin.0).as_nanos() as u64;
                let clock = &self.clockwork.clock;
                let received_ns =
                    time_ns.and_then(|ns| clock.monotonic(ns, flight.sent_ns, now_ns));
                let rtt = match received_ns {
                    Some(ns) => Duration::from_nanos(ns.saturating_sub(flight.sent_ns)),
                    // A clock was set meanwhile. It came, and nothing says that it came late.
                    None => Duration::from_nanos(now_ns.saturating_sub(flight.sent_ns))
                        .min(self.pace.timeout),
                };
                if !self.flights.is_in_time(rtt) {
                    return;
                }
                let source = to.or(flight.source);
                if let Some(flight) = self.flights.land(number) {
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
                if let Some(flight) = self.flights.land(number) {
                    self.lose(&flight, loss);
                }
            }
        }
    }

    fn lose(&mut self, flight: &Flight, loss: Loss) {
        self.tell(flight, flight.source, Err(loss));
    }

    fn tell(&mut self, flight: &Flight, source: Option<IpAddr>, result: Result<Duration, Loss>) {
        if let Some(path) = self.schedule.key(flight.place) {
            self.outcomes.push_back(Outcome {
                path: path.clone(),
                source,
                sent_at: flight.due,
                result,
            });
        }
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

#[expect(
    clippy::disallowed_methods,
    reason = "the adapter's edge: probes leave and replies come by the clock"
)]
fn now() -> Instant {
    Instant::now()
}
