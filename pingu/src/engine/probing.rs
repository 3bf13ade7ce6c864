//! What one wake-up does: deadlines first, then what is due is sent, and what has come back is read, a bounded number of each.

use std::time::{Duration, Instant};

use crate::{
    engine::{Engine, foresight::Doubt, path, wants::Wants},
    probe::{ProbeOrder, ProbeTransport, SendResult},
    units::PathId,
};

/// So many paths are looked at in one turn of the loop, before other uplinks, the kernel's news and people have theirs: some hundred
/// microseconds.
const LOOKS_PER_TURN: usize = 1024;

/// So many probes are sent in one turn of the loop, and what belongs to the same path: about a millisecond.
const ORDERS_PER_TURN: usize = 256;

/// The shortest time between two looks at the same path, so that a wake-up always makes progress.
const WAKE_AGAIN_MIN: Duration = Duration::from_micros(50);

/// What is on its way to the kernel in one turn.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    orders: Vec<ProbeOrder>,
    results: Vec<SendResult>,
    /// Which paths the orders came from, and how many from each.
    ordered: Vec<(PathId, usize)>,
}

impl Outgoing {
    /// Whether nothing is.
    pub(super) fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// Whether something of a path is among it.
    fn has(&self, id: PathId) -> bool {
        self.ordered.iter().any(|(ordered, _)| *ordered == id)
    }
}

impl Engine {
    /// Reads what came back, judges, and sends what is due, as much as one turn of the loop allows: [`Engine::next_wake`] has passed
    /// while there is more. [`Engine::sent`] must follow with the time after the sending.
    pub fn run(&mut self, now: Instant, transport: &mut impl ProbeTransport) {
        self.outgoing.orders.clear();
        self.outgoing.ordered.clear();
        self.doubt = Doubt::default();
        transport.refresh();
        let observed = self.observe(transport, now);
        let mut looks = LOOKS_PER_TURN;
        let is_only_ahead = self.look_ahead(now, transport);
        while looks > 0
            && let Some(id) = self.timetable.take_urgent(now)
        {
            looks -= 1;
            self.collect(id, now, transport);
            self.note_wants(id, now);
        }
        while self.outgoing.orders.len() < ORDERS_PER_TURN
            && looks > 0
            && let Some(id) = self.timetable.take_send(now)
        {
            looks -= 1;
            self.sample(id, now, transport);
            self.collect(id, now, transport);
            self.hold_back(id, now);
            self.order(id, now, transport);
            self.note_wants(id, now);
        }
        let outgoing = &mut self.outgoing;
        if !outgoing.orders.is_empty() {
            transport.send(&outgoing.orders, &mut outgoing.results);
        }
        // A wake-up that is for nothing else leaves every other where it was.
        while looks > 0
            && !is_only_ahead
            && let Some(id) = self.timetable.take_quiet(now)
        {
            looks -= 1;
            if self.outgoing.has(id) {
                // Nothing is read of it before it is known when it was sent, and then its deadline is noted.
                continue;
            }
            self.collect(id, now, transport);
            self.note_wants_after_look(id, now);
        }
        let observed = observed || self.observe_beside_sends(transport, now);
        if observed {
            self.follow_signs(now);
            self.unsettle_uplinks();
        }
        // What handshakes say of an uplink that may fall must be fresh.
        for id in &self.unsettled.uplinks {
            self.uplinks[id.index()].sample(transport, now);
        }
        self.rank(now);
    }

    /// Takes the time at which the last [`Engine::run`] had handed its probes over: their timeouts count from there.
    pub fn sent(&mut self, now: Instant) {
        let mut first = 0;
        for place in 0..self.outgoing.ordered.len() {
            let (id, count) = self.outgoing.ordered[place];
            let path = &mut self.paths[id.index()];
            let config = &self.config.uplinks[path.uplink.index()];
            let results = &self.outgoing.results[first..first + count];
            path.sent(results, config.probe.timeout, now);
            if let Some(directions) = self.reflections.of_mut(id) {
                directions.sent(results);
            }
            first += count;
            let wants = Wants {
                deadline: path.deadline(&config.probe, &config.health, now),
                ..Wants::default()
            };
            self.timetable.note(id, &wants);
            if let Some(deadline) = wants.deadline {
                self.foresee(id, deadline, now);
            }
        }
        self.outgoing.ordered.clear();
    }

    /// When [`Engine::run`] is wanted next.
    pub fn next_wake(&self) -> Option<Instant> {
        let wakes = [
            self.timetable.next_wake(),
            self.turn,
            self.next_check(),
            self.next_observation(),
        ];
        wakes.into_iter().flatten().min()
    }

    /// Reads the counters of a path's uplink, where that is wanted.
    fn sample(&mut self, id: PathId, now: Instant, transport: &mut impl ProbeTransport) {
        let id = self.paths[id.index()].uplink;
        if self.uplinks[id.index()].sample(transport, now) {
            self.unsettled.uplinks.insert(id);
        }
    }

    /// Reads what came back of a path.
    pub(super) fn collect(&mut self, id: PathId, now: Instant, transport: &impl ProbeTransport) {
        let path = &mut self.paths[id.index()];
        let uplink = &self.config.uplinks[path.uplink.index()];
        let judged = |path: &crate::engine::Path| path.record.judged.map(|judged| judged.started);
        let before = judged(path);
        path.collect(&uplink.probe, &uplink.health, now, transport);
        let is_new = judged(path) != before;
        if path.is_in_doubt(&uplink.probe, now) {
            self.doubt.of = Some(path.uplink);
        }
        if let Some(directions) = self.reflections.of_mut(id) {
            directions.collect(transport);
        }
        self.review(id, is_new);
    }

    /// Orders what is due on a path.
    fn order(&mut self, id: PathId, now: Instant, transport: &impl ProbeTransport) {
        let path = &mut self.paths[id.index()];
        let uplink = &self.config.uplinks[path.uplink.index()];
        let first_order = self.outgoing.orders.len();
        path.order(
            (&uplink.probe, &uplink.health),
            || self.identifiers.next() as u16,
            now,
            &mut self.outgoing.orders,
        );
        let count = self.outgoing.orders.len() - first_order;
        if count > 0 {
            if let Some(directions) = self.reflections.of_mut(id) {
                directions.ordered(&mut self.outgoing.orders[first_order..], now);
            }
            self.outgoing.ordered.push((id, count));
        } else {
            // A burst without a neighbour is judged without any order having left. Slots just ordered must not be read
            // yet: until they are armed they hold an earlier probe's stamps.
            self.collect(id, now, transport);
        }
    }

    /// Notes when a path wants to be looked at again. Deadlines of what was just ordered are noted once it is sent.
    pub(super) fn note_wants(&mut self, id: PathId, now: Instant) {
        let mut wants = self.wants(id, now);
        if let Some((last, _)) = self.outgoing.ordered.last()
            && *last == id
        {
            wants.deadline = None;
        }
        self.timetable.note(id, &wants);
        if let Some(deadline) = wants.deadline {
            self.foresee(id, deadline, now);
        }
    }

    /// The same after the last look before a deadline: where nothing has come yet, the deadline itself wakes the loop.
    fn note_wants_after_look(&mut self, id: PathId, now: Instant) {
        let mut wants = self.wants(id, now);
        if let Some(deadline) = wants.deadline
            && self.timetable.is_near(deadline, now)
        {
            wants.deadline = None;
            let uplink = self.paths[id.index()].uplink;
            let probe = &self.config.uplinks[uplink.index()].probe;
            let decides = self.timetable.insist(id, deadline, path::patience(probe));
            self.foresee(id, decides, now);
        }
        self.timetable.note(id, &wants);
    }

    fn wants(&mut self, id: PathId, now: Instant) -> Wants {
        let path = &mut self.paths[id.index()];
        let uplink = &self.config.uplinks[path.uplink.index()];
        let wants = path.wants(&uplink.probe, &uplink.health, now);
        let again = |at: Option<Instant>| at.map(|at| at.max(now + WAKE_AGAIN_MIN));
        Wants {
            send: again(wants.send),
            deadline: again(wants.deadline),
            look: again(wants.look),
        }
    }
}
