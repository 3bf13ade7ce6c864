//! Many paths in virtual time: a transport that counts, over interfaces that need no neighbours.

use std::{
    cell::Cell,
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use pingu::{
    config::Config,
    engine::{Engine, HookState, RouteSet, State},
    network::{Address, Link, LinkLayer, Snapshot},
    probe::{EngineKind, ProbeOrder, ProbeTransport, SendResult, Stamps, Traffic},
    units::{Ifindex, SlotId, UplinkId},
};

/// What a packet takes of the loop's time, and a turn of it: a slow machine's.
const SEND_TAKES: Duration = Duration::from_micros(5);
const TURN_TAKES: Duration = Duration::from_micros(50);

/// A probe that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) at: Duration,
    pub(crate) ifindex: Ifindex,
    pub(crate) target: IpAddr,
    pub(crate) ident: u16,
}

/// Answers after a fixed time, unless the interface is cut.
pub(crate) struct Counter {
    start: Instant,
    now: Cell<Instant>,
    pub(crate) rtt: Duration,
    /// What passes is counted, but nothing does.
    pub(crate) counts: bool,
    pub(crate) cut: BTreeSet<Ifindex>,
    slots: Vec<(u64, Option<u64>)>,
    pub(crate) sent: Vec<Sent>,
}

impl Counter {
    fn now_ns(&self) -> u64 {
        1 + (self.now.get() - self.start).as_nanos() as u64
    }
}

impl ProbeTransport for Counter {
    fn send(&mut self, orders: &[ProbeOrder], results: &mut Vec<SendResult>) {
        results.clear();
        for order in orders {
            let sent_ns = self.now_ns();
            let answered = !self.cut.contains(&order.ifindex);
            let reply = answered.then(|| sent_ns + self.rtt.as_nanos() as u64);
            self.slots[order.slot.0 as usize] = (sent_ns, reply);
            self.sent.push(Sent {
                at: self.now.get() - self.start,
                ifindex: order.ifindex,
                target: order.target,
                ident: order.ident,
            });
            self.now.set(self.now.get() + SEND_TAKES);
            results.push(SendResult::Sent);
        }
    }

    fn read(&self, slot: SlotId) -> Stamps {
        let (sent_ns, reply) = self.slots[slot.0 as usize];
        let now_ns = self.now_ns();
        Stamps {
            sent_ns: Some(sent_ns).filter(|ns| *ns > 0),
            received_ns: reply.filter(|at| *at <= now_ns),
        }
    }

    fn traffic(&self, _ifindex: Ifindex) -> Option<Traffic> {
        self.counts.then(Traffic::default)
    }
}

/// The engine among its many paths.
pub(crate) struct Crowd {
    pub(crate) engine: Engine,
    pub(crate) transport: Counter,
    pub(crate) wakes: Vec<Duration>,
    /// Every change of an uplink's state.
    pub(crate) changes: Vec<(Duration, UplinkId, State)>,
    /// Wake-ups that left the loop more to do than probing.
    pub(crate) errands: usize,
    /// Wake-ups just before what may decide.
    pub(crate) ahead: Vec<Duration>,
    /// Those at which some path was in doubt.
    pub(crate) doubtful: Vec<Duration>,
    /// What the last of them foresaw.
    foreseen: Option<RouteSet>,
    /// Falls that were not as foreseen, if they were foreseen.
    pub(crate) surprises: usize,
}

/// So many targets as the list of a configuration.
pub(crate) fn targets(count: u32) -> String {
    let address = |n: u32| format!("\"{}\"", IpAddr::from((0x0a00_0001 + n).to_be_bytes()));
    let list: Vec<String> = (0..count).map(address).collect();
    format!("targets = [{}]", list.join(", "))
}

/// So many uplinks that need no gateway.
pub(crate) fn uplinks(count: u32, keys: &str) -> String {
    let uplink = |n| {
        format!("[[uplink]]\nname = \"u{n}\"\ninterface = \"wan{n}\"\ngateway = \"none\"\n{keys}\n")
    };
    (0..count).map(uplink).collect()
}

impl Crowd {
    /// With all interfaces there.
    pub(crate) fn new(config: &str) -> Self {
        let mut crowd = Self::without_interfaces(config);
        let count = crowd.engine.config().uplinks.len();
        crowd.look(count);
        crowd
    }

    /// With no interface there.
    pub(crate) fn without_interfaces(config: &str) -> Self {
        let (config, _) =
            Config::parse(config, "crowd").unwrap_or_else(|problems| panic!("{problems}"));
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant can only be made from the clock; virtual time adds to it"
        )]
        let start = Instant::now();
        let mut engine = Engine::new(config, 7, start);
        for index in 0..engine.config().uplinks.len() {
            engine.set_hook(UplinkId(index as u16), HookState::Attached(EngineKind::Tcx));
        }
        let transport = Counter {
            start,
            now: Cell::new(start),
            rtt: Duration::from_millis(3),
            counts: false,
            cut: BTreeSet::new(),
            slots: vec![(0, None); engine.slots_needed() as usize],
            sent: Vec::new(),
        };
        Self {
            engine,
            transport,
            wakes: Vec::new(),
            changes: Vec::new(),
            errands: 0,
            ahead: Vec::new(),
            doubtful: Vec::new(),
            foreseen: None,
            surprises: 0,
        }
    }

    /// Shows the engine so many of the interfaces.
    pub(crate) fn look(&mut self, count: usize) {
        let mut snapshot = Snapshot::default();
        for (index, uplink) in self.engine.config().uplinks.iter().take(count).enumerate() {
            let ifindex = Ifindex(index as u32 + 2);
            snapshot.links.push(Link {
                ifindex,
                name: uplink.interface.clone(),
                layer: LinkLayer::Bare,
                admin_up: true,
                carrier: true,
                is_port: false,
                mtu_bytes: 1500,
                alternative_names: Vec::new(),
            });
            snapshot.addresses.push(Address {
                ifindex,
                address: IpAddr::from([192, 0, 2, 1]),
                prefix_len: 32,
                global: true,
                usable: true,
                secondary: false,
            });
        }
        self.engine.network(snapshot, self.transport.now.get());
    }

    /// Hooks stand at last.
    pub(crate) fn serve(&mut self, id: UplinkId) {
        self.engine.serves(id, self.transport.now.get());
        let state = HookState::Attached(EngineKind::Tcx);
        self.engine.set_hook(id, state);
    }

    /// Lives until so long after the start.
    pub(crate) fn run_until(&mut self, after: Duration) {
        let until = self.transport.start + after;
        while let Some(wake) = self.engine.next_wake().filter(|wake| *wake <= until) {
            let now = wake.max(self.transport.now.get());
            self.transport.now.set(now);
            self.wakes.push(now - self.transport.start);
            self.engine.run(now, &mut self.transport);
            self.engine.sent(self.transport.now.get());
            let now = self.transport.now.get();
            self.errands += usize::from(self.engine.has_errands(now));
            for (id, state, _) in self.engine.changes() {
                self.changes.push((self.now(), id, state));
                let foreseen = self.foreseen.take();
                let is_as_foreseen = foreseen.is_none_or(|set| set == self.engine.route_set());
                self.surprises += usize::from(state == State::Down && !is_as_foreseen);
            }
            self.foresee(now);
            self.transport
                .now
                .set(self.transport.now.get() + TURN_TAKES);
        }
        self.transport.now.set(until.max(self.transport.now.get()));
    }

    /// Has the engine say what should be there if what is in doubt fell: it must change nothing by that.
    fn foresee(&mut self, now: Instant) {
        let Some(id) = self.engine.in_doubt() else {
            assert!(!self.engine.may_decide_soon());
            self.foreseen = None;
            return;
        };
        self.doubtful.push(self.now());
        if self.engine.may_decide_soon() {
            self.ahead.push(self.now());
        }
        let before = (self.engine.route_set(), self.engine.revision());
        let (_, foreseen) = self.engine.route_set_without(id, now);
        assert_eq!(before, (self.engine.route_set(), self.engine.revision()));
        self.foreseen = Some(foreseen);
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.transport.now.get() - self.transport.start
    }

    /// Forgets what was counted so far.
    pub(crate) fn count_anew(&mut self) {
        self.wakes.clear();
        self.transport.sent.clear();
    }

    /// When an uplink first went down after that.
    pub(crate) fn down_after(&self, id: UplinkId, after: Duration) -> Option<Duration> {
        let mut changes = self.changes.iter();
        let found = changes
            .find(|(at, uplink, state)| *at >= after && *uplink == id && *state == State::Down);
        found.map(|(at, ..)| *at)
    }

    /// Probes that were lost or late, and those that were answered.
    pub(crate) fn missing_and_answered(&self) -> (u64, u64) {
        let now = self.transport.now.get();
        let status = self.engine.status(now, std::time::SystemTime::UNIX_EPOCH);
        let targets = || status.uplinks.iter().flat_map(|uplink| &uplink.targets);
        let missing = targets().map(|target| target.lost + target.late + target.not_sent);
        (missing.sum(), targets().map(|target| target.answered).sum())
    }
}
