//! What the checks of a virtual world talk to: a server that all uplinks try, and what stands in the way of each.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use pingu::engine::{
    Engine,
    check::{Cause, CheckOrder, CheckOutcome, Cost, Failure},
};

/// How long an answer takes.
const ANSWER: Duration = Duration::from_millis(30);

/// Who answers the checks, and what is under way.
#[derive(Default)]
pub(crate) struct FarEnds {
    /// How the server fails, if it does.
    pub(crate) dead: Option<Cause>,
    /// How it fails over an uplink, whatever the server does; with a text.
    pub(crate) over: BTreeMap<String, (Cause, String)>,
    /// An uplink over which the server fails once, in a run that begins together with another's.
    pub(crate) unlucky: Option<String>,
    /// What each run costs.
    pub(crate) cost: Cost,
    /// When each run began, by uplinks.
    pub(crate) begun: Vec<(Instant, String)>,
    running: Vec<(Instant, CheckOrder, CheckOutcome)>,
}

impl FarEnds {
    /// When the next answer comes.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.running.iter().map(|(ends, _, _)| *ends).min()
    }

    /// Brings what has ended, and begins what is due.
    pub(crate) fn turn(&mut self, engine: &mut Engine, now: Instant) {
        for run in engine.cancelled_checks() {
            self.running.retain(|(_, order, _)| order.run != run);
        }
        let (ended, running) = std::mem::take(&mut self.running)
            .into_iter()
            .partition::<Vec<_>, _>(|(ends, _, _)| *ends <= now);
        self.running = running;
        for (_, order, outcome) in ended {
            engine.check_cost(order.run, order.id, self.cost);
            engine.checked(order.run, outcome, ANSWER, now);
        }
        let orders = engine.check_orders(now);
        let together = orders.len() > 1;
        for order in orders {
            self.begun.push((now, order.uplink.to_string()));
            let mut outcome = self.outcome(&order.uplink);
            let is_it = |name: &mut String| together && **name == *order.uplink;
            if self.unlucky.take_if(is_it).is_some() {
                outcome = failed(Cause::Timeout, "by chance");
            }
            let is_silence = matches!(&outcome, Err(failure) if failure.cause == Cause::Timeout);
            let takes = if is_silence {
                order.check.timeout
            } else {
                ANSWER
            };
            self.running.push((now + takes, order, outcome));
        }
    }

    fn outcome(&self, uplink: &str) -> CheckOutcome {
        match (self.over.get(uplink), self.dead) {
            (Some((cause, text)), _) => failed(*cause, text),
            (None, Some(cause)) => failed(cause, "the server fails"),
            (None, None) => Ok("answers".to_owned()),
        }
    }
}

fn failed(cause: Cause, text: &str) -> CheckOutcome {
    let text = text.to_owned();
    Err(Failure { cause, text })
}
