//! The engine, the model of the kernel, and wires that answer or not.

use std::{
    cell::Cell,
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use pingu::{
    config::Config,
    engine::{Engine, HookState, reconcile},
    netlink::{NetlinkError, model::FakeKernel},
    network::{Change, Neighbour, NeighbourState},
    probe::{EngineKind, ProbeOrder, ProbeTransport, SendResult, Stamps},
    units::{Ifindex, Protocol, SlotId, UplinkId},
};

use crate::{
    mutator,
    properties::{self, Foreign},
    random::Random,
    setting,
};

/// Rounds of looking and writing until all is well: one exchange for each place of an uplink, objects after their routes, and some.
const ROUNDS_MAX: usize = 10;

const RTT: Duration = Duration::from_millis(10);

/// Everything.
pub struct World {
    pub engine: Engine,
    pub kernel: FakeKernel,
    pub own: Protocol,
    /// How often each uplink's interface was made.
    pub generations: Vec<usize>,
    wires: Wires,
    story: Vec<String>,
}

/// Which uplinks answer, in each family, by interface.
pub struct Wires {
    start: Instant,
    now: Cell<Instant>,
    pub silent: Vec<(Ifindex, bool)>,
    carriers: Vec<Ifindex>,
    slots: BTreeMap<SlotId, (u64, Option<u64>)>,
}

impl ProbeTransport for Wires {
    fn send(&mut self, orders: &[ProbeOrder], results: &mut Vec<SendResult>) {
        results.clear();
        let sent_ns = self.now_ns();
        for order in orders {
            let silent = self
                .silent
                .contains(&(order.ifindex, order.target.is_ipv6()));
            let answered = !silent && self.carriers.contains(&order.ifindex);
            let reply = answered.then(|| sent_ns + RTT.as_nanos() as u64);
            self.slots.insert(order.slot, (sent_ns, reply));
            results.push(SendResult::Sent);
        }
    }

    fn read(&self, slot: SlotId) -> Stamps {
        let now_ns = self.now_ns();
        let found = self.slots.get(&slot);
        Stamps {
            sent_ns: found.map(|(sent_ns, _)| *sent_ns),
            received_ns: found.and_then(|(_, reply)| reply.filter(|at| *at <= now_ns)),
        }
    }
}

impl Wires {
    fn now_ns(&self) -> u64 {
        1 + (self.now.get() - self.start).as_nanos() as u64
    }
}

impl World {
    pub fn new(seed: u64, random: &mut Random) -> Self {
        let text = setting::configuration(random);
        let (config, _warnings) =
            Config::parse(&text, "a random one").unwrap_or_else(|problems| panic!("{problems}"));
        #[expect(
            clippy::disallowed_methods,
            reason = "an Instant can only be made from the clock; virtual time adds to it"
        )]
        let start = Instant::now();
        let own = config.protocol;
        let mut engine = Engine::new(config, seed, start);
        let uplinks = engine.config().uplinks.len();
        for index in 0..uplinks {
            engine.set_hook(UplinkId(index as u16), HookState::Attached(EngineKind::Tcx));
        }
        let mut world = Self {
            engine,
            kernel: FakeKernel::new(own),
            own,
            generations: vec![0; uplinks],
            wires: Wires {
                start,
                now: Cell::new(start),
                silent: Vec::new(),
                carriers: Vec::new(),
                slots: BTreeMap::new(),
            },
            story: vec![format!("seed {seed}\n{text}")],
        };
        for uplink in 0..uplinks {
            setting::plug(&mut world.kernel, uplink, 0);
        }
        world.repair(random);
        world.look();
        world
    }

    /// pingu is killed and started again, and knows only what it had noted.
    pub fn restart(&mut self, seed: u64) {
        self.tell("pingu starts again".to_owned());
        let adopted = self.engine.adopted().to_vec();
        self.engine = Engine::new(self.engine.config().clone(), seed, self.now());
        self.engine.remember_adopted(adopted);
        for index in 0..self.generations.len() {
            let attached = HookState::Attached(EngineKind::Tcx);
            self.engine.set_hook(UplinkId(index as u16), attached);
        }
        self.look();
    }

    pub fn now(&self) -> Instant {
        self.wires.now.get()
    }

    /// Whether an uplink's interface answers in a family.
    pub fn answer(&mut self, ifindex: Ifindex, ipv6: bool, answers: bool) {
        self.wires
            .silent
            .retain(|silent| *silent != (ifindex, ipv6));
        if !answers {
            self.wires.silent.push((ifindex, ipv6));
        }
    }

    pub fn tell(&mut self, what: String) {
        self.story.push(what);
    }

    /// Everything that happened, for a test that fails.
    pub fn story(&self) -> String {
        let mut text = self.story.join("\n");
        for ipv6 in [false, true] {
            for listed in self.kernel.routes(ipv6) {
                text += &format!("\nthere: {listed:?}");
            }
        }
        for object in self.kernel.nexthops() {
            text += &format!("\nthere: nexthop {object:?}");
        }
        for wanted in self.engine.route_set().wanted {
            text += &format!("\nwanted: {wanted:?}");
        }
        let states: Vec<String> = self
            .engine
            .states()
            .map(|(name, state, reason)| format!("{name} {state:?} {reason}"))
            .collect();
        text + "\n" + &states.join("\n")
    }

    /// Lets so many seconds go by.
    pub fn live(&mut self, seconds: f64) {
        let until = self.now() + Duration::from_secs_f64(seconds);
        while let Some(wake) = self.engine.next_wake().filter(|wake| *wake <= until) {
            self.wires.now.set(wake.max(self.now()));
            self.step();
        }
        self.wires.now.set(until);
        self.step();
    }

    fn step(&mut self) {
        let now = self.now();
        let revision = self.engine.revision();
        let up = self.kernel.devices().filter(|device| device.link.carrier);
        self.wires.carriers = up.map(|device| device.link.ifindex).collect();
        self.engine.run(now, &mut self.wires);
        self.engine.sent(now);
        for (ifindex, address) in self.engine.solicitations(now) {
            self.resolve(ifindex, address);
        }
        if self.engine.revision() != revision {
            self.turn(None);
        }
    }

    fn resolve(&mut self, ifindex: Ifindex, address: IpAddr) {
        let neighbour = Neighbour {
            ifindex,
            address,
            state: NeighbourState::Usable([2; 6]),
        };
        self.engine.neighbour(&neighbour, self.now());
        if !self.kernel.neighbours.contains(&neighbour) {
            self.kernel.neighbours.push(neighbour);
        }
    }

    fn look(&mut self) {
        self.engine.network(self.kernel.look(), self.now());
    }

    /// Somebody else does something.
    pub fn disturb(&mut self, random: &mut Random) {
        mutator::disturb(self, random);
    }

    /// Links, addresses and leases are as they were in the beginning; whoever answers then may change.
    pub fn repair(&mut self, random: &mut Random) {
        mutator::repair(self, random);
    }

    /// One look, one plan, one write after the other; what was done, and what was refused.
    pub fn turn(&mut self, mut meddler: Option<&mut Random>) -> (Vec<Change>, Vec<Change>) {
        self.look();
        let set = self.engine.route_set();
        let plan = reconcile::plan(self.engine.snapshot(), &set, self.own);
        let (mut done, mut refused) = (Vec::new(), Vec::new());
        let mut is_fresh = true;
        for change in plan.changes {
            if let Some(random) = meddler.as_deref_mut()
                && random.percent(15)
            {
                mutator::disturb(self, random);
                is_fresh = false;
            }
            let before = Foreign::of(self);
            // The kernel may be out of memory, or out of patience.
            let refuses = meddler
                .as_deref_mut()
                .is_some_and(|random| random.percent(10));
            let outcome = if refuses {
                Err(NetlinkError::Closed)
            } else {
                self.write(&change)
            };
            self.tell(format!("pingu: {change:?}: {}", told(&outcome)));
            before.check(self, &change, &set, is_fresh);
            match outcome {
                Ok(()) => done.push(change),
                Err(_) => refused.push(change),
            }
        }
        (done, refused)
    }

    fn write(&mut self, change: &Change) -> Result<(), NetlinkError> {
        let mut outcome = self.kernel.change(change);
        if matches!(&outcome, Err(error) if error.is_unreachable())
            && let Some(onlink) = change.onlink()
        {
            outcome = self.kernel.change(&onlink);
        }
        if let (Ok(()), Change::TakeOver(route)) = (&outcome, change) {
            self.engine.remember_adopted([route.clone()]);
        }
        outcome
    }

    /// Turns until nothing is done any more.
    pub fn converge(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let before = self.kernel.clone();
            let (done, refused) = self.turn(None);
            if done.is_empty() {
                for change in refused {
                    properties::check_refusal(self, &change);
                }
                return;
            }
            assert!(
                !properties::same(&before, &self.kernel),
                "{done:?} did nothing\n{}",
                self.story()
            );
        }
        panic!("plan follows plan\n{}", self.story());
    }

    pub fn check_desired(&self) {
        properties::check_desired(self);
    }

    /// In sync, nothing is written.
    pub fn stays_quiet(&mut self) {
        for _ in 0..5 {
            let (done, _) = self.turn(None);
            assert!(done.is_empty(), "{done:?} in sync\n{}", self.story());
        }
    }
}

fn told(outcome: &Result<(), NetlinkError>) -> String {
    match outcome {
        Ok(()) => "done".to_owned(),
        Err(error) => error.to_string(),
    }
}
