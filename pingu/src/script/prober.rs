//! Sends the probes of a script and tells what became of each, once. Paths follow the kernel: where a probe leaves is decided when it
//! leaves, never before. Alone here the clock is read; when what is due, and which reply is whose, is decided without it.

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

use self::{
    bell::{Bell, Patience},
    flights::{Flight, Flights},
    frames::Frames,
    outlet::Outlet,
    receiving::Read,
    schedule::Schedule,
    sending::{Framed, HELD_EVERY, Held},
    ways::Ways,
};
use super::probe::{Loss, Origin, Outcome, Pace, PathKey};
use crate::probe::{kernel::sender::Cookies, socket::clockwork::Clockwork};

mod arrival;
mod bell;
mod error;
mod flights;
mod frames;
mod gateways;
mod interfaces;
mod news;
mod outlet;
mod receiving;
mod route;
mod schedule;
mod sending;
mod ways;

pub use self::error::ProberError;

/// More paths than this are served together, each so much late at most: a wake-up costs more than a probe.
const ALONE_MAX: usize = 32;
const TOGETHER: Duration = Duration::from_millis(5);

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
    /// When the last of it was done.
    worked: Instant,
    /// What was read from a socket; empty between calls.
    read: Vec<Read>,
    /// The identifier of frames and of what raw sockets send.
    ident: u16,
    /// The eBPF engine, where it may be had.
    frames: Option<Frames>,
    /// Frames of this turn; empty between calls.
    framed: Vec<Framed>,
    /// Probes that wait for their next hop.
    held: Vec<Held>,
}

impl Prober {
    /// Without paths, in the network namespace of the calling thread. Fails where the kernel refuses the sockets that the pace asks for.
    pub fn new(pace: Pace) -> Result<Self, ProberError> {
        outlet::open(false, pace.privileged)
            .map_err(|error| ProberError::of_socket(pace.privileged, error))?;
        let first_word = rand::random();
        let clockwork = Clockwork::new();
        let begin = now();
        Ok(Self {
            pace,
            schedule: Schedule::new(pace.interval),
            flights: Flights::new(pace.timeout),
            ways: Ways::new(pace.interval, pace.privileged)
                .map_err(ProberError::other("a netlink socket"))?,
            bell: Bell::new().map_err(ProberError::other("a timer"))?,
            outlets: Vec::new(),
            origin: (begin, clockwork.look.monotonic_ns),
            worked: begin,
            clockwork,
            cookies: Cookies::new(Some(first_word)),
            first_word,
            outcomes: VecDeque::new(),
            wake: None,
            read: Vec::new(),
            ident: rand::random(),
            frames: pace.privileged.then(|| Frames::load(first_word)).flatten(),
            framed: Vec::new(),
            held: Vec::new(),
        })
    }

    /// Begins to probe a path; does nothing where that is done already.
    pub fn start(&mut self, path: PathKey, now: Instant) {
        self.schedule.start(path, now);
        self.wake = None;
    }

    /// Probes a destination no more, from this origin or from all. Of probes of it that are in flight nothing more is heard.
    pub fn stop(&mut self, destination: IpAddr, origin: Option<&Origin>) {
        self.schedule.stop(destination, origin);
        self.outcomes.retain(|outcome| {
            let path = &outcome.path;
            path.destination != destination || origin.is_some_and(|origin| path.origin != *origin)
        });
    }

    /// How many probes have left by the eBPF engine; the others left by sockets.
    pub fn by_hooks(&self) -> u64 {
        self.frames.as_ref().map_or(0, |frames| frames.sent)
    }

    /// Waits for the next outcome, and sends what is due meanwhile. Nothing is lost if the future is dropped; while nobody waits, nothing
    /// is sent.
    pub async fn next(&mut self) -> Outcome {
        loop {
            let time = now();
            // On a machine that is too slow for its paths, outcomes are still taken faster than they come.
            let is_due = self.wake.is_none_or(|wake| wake <= time);
            if self.outcomes.is_empty() || (is_due && time >= self.worked + TOGETHER) {
                self.work(time);
                self.worked = now();
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
        self.look(time);
        self.expire(time);
        self.send_due(time);
        let held = (!self.held.is_empty()).then(|| time + HELD_EVERY);
        let look = self.frames.as_ref().and_then(Frames::next_look);
        let next = [
            self.schedule.next(),
            self.flights.next_deadline(),
            held,
            look,
        ];
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

    /// An instant by `CLOCK_MONOTONIC`, in nanoseconds.
    fn nanoseconds(&self, at: Instant) -> u64 {
        let (origin, origin_ns) = self.origin;
        origin_ns + (at - origin).as_nanos() as u64
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

#[expect(
    clippy::disallowed_methods,
    reason = "the adapter's edge: probes leave and replies come by the clock"
)]
fn now() -> Instant {
    Instant::now()
}
