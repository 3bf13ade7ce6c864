//! A path over random wires in virtual time: what must hold whatever is lost, late or not looked at.

use std::{cell::RefCell, collections::BTreeMap};

use super::*;
use crate::{
    config::{Config, UplinkConfig},
    engine::{
        Random,
        burst::Report,
        evidence::Basis,
        health::{State, Verdict},
        test_clock,
        way_out::Readiness,
    },
    probe::{IcmpError, LinkHeader, Remarks, Stamps},
    units::Ifindex,
};

mod figures;
mod judging;
mod pacing;
mod throttle;

/// A probe as the wire saw it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    sent: Instant,
    rtt: Option<Duration>,
}

/// A wire that knows beforehand what becomes of each probe.
struct Wire {
    start: Instant,
    now: Instant,
    slots: RefCell<BTreeMap<SlotId, Seen>>,
    log: Vec<Seen>,
    /// The errno of every sending, while there is one.
    errno: Option<i32>,
    /// A router reports each probe as not delivered, at once, whether it is or not.
    is_slandered: bool,
}

impl ProbeTransport for Wire {
    fn send(&mut self, _orders: &[ProbeOrder], _results: &mut Vec<SendResult>) {
        unreachable!("the driver sends")
    }

    fn read(&self, slot: SlotId) -> Stamps {
        let ns = |at: Instant| 1 + (at - self.start).as_nanos() as u64;
        let slots = self.slots.borrow();
        let Some(seen) = slots.get(&slot) else {
            return Stamps {
                sent_ns: None,
                received_ns: None,
            };
        };
        let reply = seen.rtt.map(|rtt| seen.sent + rtt);
        Stamps {
            sent_ns: Some(ns(seen.sent)),
            received_ns: reply.filter(|&at| at <= self.now).map(ns),
        }
    }

    fn remarks(&self, _slot: SlotId) -> Remarks {
        let host_unreachable = IcmpError {
            from: IpAddr::from([192, 0, 2, 1]),
            kind: 3,
            code: 1,
        };
        Remarks {
            error: self.is_slandered.then_some(host_unreachable),
            ..Remarks::default()
        }
    }
}

/// A path on such a wire.
struct Driver {
    config: UplinkConfig,
    rolling: Rolling,
    record: Record,
    wire: Wire,
    wake: Option<Instant>,
    orders: Vec<ProbeOrder>,
    looks: u32,
}

const TARGET: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9));

impl Driver {
    fn new(keys: &str) -> Self {
        let text = format!(
            "[probe]\nmode = \"rolling\"\ntargets = [\"{TARGET}\"]\n[[uplink]]\nname = \"a\"\ninterface = \"wan0\"\n{keys}\n"
        );
        let (config, _) = Config::parse(&text, "f").unwrap_or_else(|problems| panic!("{problems}"));
        let config = config.uplinks[0].clone();
        let start = test_clock();
        let mut record = Record::new(0, slots_needed(&config.probe));
        let ready = Readiness::Ready {
            ifindex: Ifindex(2),
            link: LinkHeader::Bare,
            source: TARGET,
        };
        record.set_readiness(ready, start);
        Self {
            rolling: Rolling::new(Phase(start)),
            record,
            wire: Wire {
                start,
                now: start,
                slots: RefCell::default(),
                log: Vec::new(),
                errno: None,
                is_slandered: false,
            },
            wake: Some(start),
            orders: Vec::new(),
            looks: 0,
            config,
        }
    }

    fn now(&self) -> Instant {
        self.wire.now
    }

    fn state(&self) -> State {
        self.record.health.state()
    }

    /// One turn of the loop, now.
    fn look(&mut self, fate: &mut dyn FnMut(Instant) -> Option<Duration>) {
        self.looks += 1;
        let (probe, health) = (&self.config.probe, &self.config.health);
        let (now, record) = (self.wire.now, &mut self.record);
        self.rolling
            .collect(record, (probe, health), now, &self.wire);
        self.orders.clear();
        let to = (probe, TARGET);
        if !record.is_blocked() {
            self.rolling
                .order(record, to, health, || 1, now, &mut self.orders);
        }
        let wants = self.rolling.wants(record, (probe, health), now);
        self.wake = [wants.send, wants.deadline, wants.look]
            .into_iter()
            .flatten()
            .min();
        for order in &self.orders {
            let result = match self.wire.errno {
                Some(errno) => SendResult::NotSent(errno),
                None => {
                    let seen = Seen {
                        sent: now,
                        rtt: fate(now),
                    };
                    self.wire.slots.borrow_mut().insert(order.slot, seen);
                    self.wire.log.push(seen);
                    SendResult::Sent
                }
            };
            self.rolling.sent(record, &[result], now);
        }
    }

    /// Lives for so long, looking whenever it wants to.
    fn run(&mut self, time: Duration, fate: &mut dyn FnMut(Instant) -> Option<Duration>) {
        let end = self.now() + time;
        while let Some(wake) = self.wake.filter(|wake| *wake <= end) {
            self.wire.now = wake.max(self.now() + Duration::from_micros(1));
            self.look(fate);
        }
        self.wire.now = self.now().max(end);
    }

    /// Lives until its state is this, for so long at most. Returns how long it took.
    fn until(
        &mut self,
        state: State,
        most: Duration,
        fate: &mut dyn FnMut(Instant) -> Option<Duration>,
    ) -> Duration {
        let begin = self.now();
        while self.state() != state {
            let wake = self.wake.expect("it is not blocked");
            assert!(
                wake <= begin + most,
                "still {:?} after {most:?}",
                self.state()
            );
            self.wire.now = wake.max(self.now() + Duration::from_micros(1));
            self.look(fate);
        }
        self.now() - begin
    }

    /// The formula written down a second time, over all that the wire saw.
    fn reckoned(&self) -> Report {
        let (now, probe) = (self.now(), &self.config.probe);
        let window = probe.mode.rolling().window;
        let log = self.wire.log.iter();
        let mut report = Report::default();
        let mut rtts: Vec<Duration> = Vec::new();
        for seen in log.filter(|seen| now.duration_since(seen.sent) <= window) {
            match seen.rtt {
                Some(rtt) if seen.sent + rtt <= now => rtts.push(rtt),
                _ if seen.sent + probe.timeout <= now => report.lost += 1,
                _ => report.pending += 1,
            }
        }
        report.answered = rtts.len() as u32;
        report.rtt_mean = rtts.iter().sum::<Duration>() / report.answered.max(1);
        let steps: Duration = rtts.windows(2).map(|w| w[0].abs_diff(w[1])).sum();
        report.jitter = (rtts.len() > 1).then(|| steps / (report.answered - 1));
        report
    }

    fn tally_adds_up(&self) -> bool {
        let tally = &self.record.tally;
        let settled = tally.answered + tally.lost + tally.late + tally.not_sent;
        let pending = (self.rolling.first_pending..self.rolling.probes.end())
            .filter_map(|number| self.rolling.probes.get(number))
            .filter(|probe| matches!(probe.fate, Fate::Pending(_)))
            .count();
        tally.sent == settled + pending as u64
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn always(rtt: Duration) -> impl FnMut(Instant) -> Option<Duration> {
    move |_| Some(rtt)
}

fn never(_: Instant) -> Option<Duration> {
    None
}

/// A wire that loses so many per cent, and answers the rest after up to so long.
fn random_wire(seed: u64, loss: u64, longest: Duration) -> impl FnMut(Instant) -> Option<Duration> {
    let mut random = Random(seed);
    move |_| {
        let lost = random.below(100) < loss;
        let rtt = Duration::from_nanos(1000 + random.below(longest.as_nanos() as u64));
        (!lost).then_some(rtt)
    }
}
