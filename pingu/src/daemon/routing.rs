//! The writing half of the loop: the kernel's routes are made to agree with what the engine wants, and put back at the end.

use std::time::Instant;

use anyhow::{Context, anyhow};

use crate::{
    config::OnExit,
    daemon::{BACK_OFF, Daemon, clock},
    engine::reconcile,
    netlink::{KernelRoutes, NetlinkError, RouteTable},
    network::{Change, NextHop, Nexthop, NexthopKind, Route, Snapshot},
    units::{Ifindex, NexthopId, TableId},
};

/// What stands before an interface's number in texts about routes.
const INTERFACE_MARK: &str = "#";

/// More changes than this at once are logged by their number, and each at level debug.
const CHANGES_LOGGED_MAX: usize = 32;

/// With more changes than this the acknowledgements count as a look, which would take tens of milliseconds among ten thousand routes.
const CHANGES_SEEN_MAX: usize = 512;

/// Refusals that status shows at once: ten thousand for the same reason say no more than a few.
const REFUSALS_MAX: usize = 16;

/// So many looks that fail in a row are said aloud: one or two may meet a table that changes too fast.
const LOOKS_FAILED_TOLD: u32 = 3;

/// What became of one attempt to make the kernel agree.
#[derive(Debug, Default)]
struct Round {
    /// Something was written.
    wrote: bool,
    /// Until when the first of those that were held is.
    held_until: Option<Instant>,
    /// Changes beyond the budget.
    withheld: usize,
    refusals: Vec<String>,
}

impl Daemon {
    /// Makes the kernel's routes agree with what the engine wants.
    pub(super) async fn converge(&mut self) {
        self.converged = Some(self.engine.revision());
        self.put_back_in_vain().await;
        let own = self.engine.config().protocol;
        let now = clock();
        let mut round = Round::default();
        // One message may move every route: it goes before all of them are compared.
        let objects = self.engine.nexthop_set();
        self.allowance.want_nexthops(&objects);
        let ahead = reconcile::plan_nexthops(self.engine.snapshot(), &objects, own);
        self.make(&ahead, now, &mut round).await;
        let set = self.engine.route_set();
        self.allowance.want_routes(&set.wanted);
        let mut changes = reconcile::plan(self.engine.snapshot(), &set, own).changes;
        changes.retain(|change| !ahead.contains(change));
        let made = self.make(&changes, now, &mut round).await;
        if made.len() > CHANGES_SEEN_MAX {
            self.engine.acknowledge(&made);
            let behind = reconcile::plan_behind(self.engine.snapshot(), &set, own);
            self.make(&behind, now, &mut round).await;
        }
        if round.refusals.is_empty() {
            self.back_off.reset();
        }
        if let Some(until) = round.held_until.filter(|_| !round.wrote) {
            self.look_at = self.look_at.min(until);
        } else if round.wrote {
            self.look_at = now;
        }
        if round.withheld > 0 {
            tracing::warn!(
                withheld = round.withheld,
                "routes change faster than they may be written; waiting"
            );
            self.look_at = now + BACK_OFF;
        }
        if !round.refusals.is_empty() {
            self.look_at = now + self.back_off.pause();
        }
        round.refusals.truncate(REFUSALS_MAX);
        self.engine.note_refusals(round.refusals);
    }

    /// Makes those changes that the budget and the fights with others allow, and returns those that the kernel has acknowledged.
    async fn make(&mut self, changes: &[Change], now: Instant, round: &mut Round) -> Vec<Change> {
        let mut allowed = Vec::with_capacity(changes.len());
        for change in changes {
            if let Change::Add(route) | Change::AddBeside(route) = change {
                if let Some(until) = self.engine.restoration_held(route, now) {
                    let earlier = round.held_until.map_or(until, |other| other.min(until));
                    round.held_until = Some(earlier);
                    continue;
                }
                self.engine.restored(route, now);
            }
            // A deletion takes nothing from the budget: each had its addition, and it may be the failover. Nor does a switch.
            if change.is_deletion() || self.allowance.take(change) || self.budget.take(now) {
                allowed.push(change.clone());
            } else {
                round.withheld += 1;
            }
        }
        if allowed.is_empty() {
            return allowed;
        }
        round.wrote = true;
        let made = self.write_all(allowed, &mut round.refusals).await;
        self.watch.know_own(self.routes.ports());
        made
    }

    /// Puts back what an earlier run adopted and this one would not.
    async fn put_back_in_vain(&mut self) {
        let in_vain = self.engine.adopted_in_vain();
        let before = in_vain.len();
        for route in &in_vain {
            if self.engine.place_is_taken(route) {
                self.engine.forget_adopted(route);
                continue;
            }
            match self.write(&Change::Restore(route.clone())).await {
                Ok(()) => self.engine.forget_adopted(route),
                Err(error) => {
                    tracing::debug!(error = format!("{error:#}"), %route, "an adopted route could not be put back yet");
                }
            }
        }
        let left = self.engine.adopted_in_vain().len();
        if left < before
            && let Err(error) = self.note.write(self.engine.adopted())
        {
            tracing::warn!(%error, "the note of adopted routes could not be written");
        }
    }

    /// Makes changes in their order, and returns those that were made.
    async fn write_all(
        &mut self,
        mut plain: Vec<Change>,
        refusals: &mut Vec<String>,
    ) -> Vec<Change> {
        // Takeovers are noted one by one before they are made; a plan has them behind everything that is added.
        let is_takeover = |change: &Change| matches!(change, Change::TakeOver(_));
        let takeovers = plain.iter().position(is_takeover).unwrap_or(plain.len());
        let rest = plain.split_off(takeovers);
        let mut outcomes = self.routes.apply_all(&plain).await;
        self.log_states();
        self.reach(&plain, &mut outcomes).await;
        let is_many = plain.len() > CHANGES_LOGGED_MAX;
        let mut made = Vec::with_capacity(plain.len());
        for (change, outcome) in plain.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) if is_many => {
                    tracing::debug!("{}", self.with_names(&change.to_string()));
                    made.push(change);
                }
                Ok(()) => {
                    tracing::info!("{}", self.with_names(&change.to_string()));
                    made.push(change);
                }
                Err(error) => {
                    if !change.is_deletion() {
                        self.budget.refund();
                    }
                    refusals.push(self.with_names(&error.to_string()));
                }
            }
        }
        if is_many {
            tracing::info!(made = made.len(), refused = refusals.len(), "many changes");
        }
        for change in rest {
            match self.write(&change).await {
                Ok(()) => made.push(change),
                Err(error) => {
                    if !change.is_deletion() {
                        self.budget.refund();
                    }
                    refusals.push(format!("{error:#}"));
                }
            }
        }
        made
    }

    /// Makes those changes that were refused because no connected network holds their gateway once more, with the gateway declared
    /// reachable.
    async fn reach(&mut self, changes: &[Change], outcomes: &mut [Result<(), NetlinkError>]) {
        let (mut places, mut again) = (Vec::new(), Vec::new());
        for (place, (change, outcome)) in changes.iter().zip(outcomes.iter()).enumerate() {
            if matches!(outcome, Err(error) if error.is_unreachable())
                && let Some(onlink) = change.onlink()
            {
                places.push(place);
                again.push(onlink);
            }
        }
        if again.is_empty() {
            return;
        }
        let made = self.routes.apply_all(&again).await;
        for (place, outcome) in places.into_iter().zip(made) {
            if outcome.is_ok() {
                outcomes[place] = outcome;
            }
        }
    }

    async fn write(&mut self, change: &Change) -> anyhow::Result<()> {
        if let Change::TakeOver(route) = change {
            let mut noted: Vec<Route> = self.engine.adopted().to_vec();
            noted.push(route.clone());
            self.note
                .write(&noted)
                .context("a route is not taken over before it has been noted")?;
        }
        let applied = self.routes.apply(change).await;
        applied.map_err(|error| anyhow!("{}", self.with_names(&error.to_string())))?;
        tracing::info!("{}", self.with_names(&change.to_string()));
        if let Change::TakeOver(route) = change {
            self.engine.remember_adopted([route.clone()]);
        }
        Ok(())
    }

    /// A text about routes, with the interfaces' names for their numbers.
    pub(super) fn with_names(&self, text: &str) -> String {
        let mut named = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(place) = rest.find(INTERFACE_MARK) {
            let (before, after) = rest.split_at(place);
            let digits = &after[INTERFACE_MARK.len()..];
            let end = digits
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(digits.len());
            let number = digits[..end].parse().map(Ifindex).ok();
            let mut links = self.engine.snapshot().links.iter();
            let link = links.find(|link| Some(link.ifindex) == number);
            named.push_str(before);
            match link {
                Some(link) => named.push_str(&link.name),
                None => named.push_str(&after[..INTERFACE_MARK.len() + end]),
            }
            rest = &digits[end..];
        }
        named + rest
    }

    /// Leaves the kernel as `on_exit` says.
    pub(super) async fn withdraw(&mut self) -> anyhow::Result<()> {
        if self.engine.config().on_exit == OnExit::Keep {
            return Ok(());
        }
        self.flows.end().await;
        let snapshot = self.fresh_snapshot().await?;
        let own = self.engine.config().protocol;
        let mut adopted = self.engine.adopted().to_vec();
        // Where two want the same place, the one over an uplink that is up gets it.
        adopted.sort_by_key(|route| !self.engine.is_up_by(route));
        let rule_mark = self.engine.rule_mark();
        let (mut not_restored, mut kept) = (Vec::new(), Vec::new());
        for change in reconcile::withdrawal(&snapshot, &adopted, &rule_mark, own) {
            if let Change::Delete(route) = &change
                && route.is_default()
                && route.table == TableId::MAIN
                && not_restored
                    .iter()
                    .any(|lost: &Route| lost.ipv6() == route.ipv6())
                && !self.another_stands(route).await
            {
                kept.push(route.clone());
                continue;
            }
            if let Change::DeleteNexthop(object) = &change
                && is_needed(object.id, &kept, &snapshot.nexthops)
            {
                continue;
            }
            if let Err(error) = self.write(&change).await {
                tracing::warn!(error = format!("{error:#}"), "a route could not be changed");
                if let Change::Restore(route) = change {
                    not_restored.push(route);
                }
            }
        }
        let not_restored = self.restore_again(not_restored).await;
        let kept = kept.len();
        self.note
            .write(&not_restored)
            .context("cannot note the routes that could not be put back")?;
        if kept > 0 {
            tracing::warn!(
                kept,
                "own routes stay: an adopted one could not be put back, and no other default is there"
            );
        } else if !snapshot.routes.is_empty() && self.fresh_snapshot().await?.routes.is_empty() {
            tracing::warn!(
                "no default route is left: pingu's own were the only ones (on_exit = \"keep\" would leave them)"
            );
        }
        Ok(())
    }

    /// Tries once more to put routes back: own ones may have been in their places. Returns those that are still missing.
    async fn restore_again(&mut self, routes: Vec<Route>) -> Vec<Route> {
        let mut missing = Vec::new();
        for route in routes {
            if let Err(error) = self.write(&Change::Restore(route.clone())).await {
                tracing::debug!(error = format!("{error:#}"), "a route is still missing");
                missing.push(route);
            }
        }
        missing
    }

    /// Whether somebody else's default of a route's family is in the table.
    async fn another_stands(&mut self, own: &Route) -> bool {
        let is_another =
            |route: &Route| route.ipv6() == own.ipv6() && route.protocol != own.protocol;
        match self.fresh_snapshot().await {
            Ok(snapshot) => snapshot.routes.iter().any(is_another),
            Err(_) => false,
        }
    }

    /// Looks at the kernel, over a new connection where the old one has closed.
    pub(super) async fn fresh_snapshot(&mut self) -> Result<Snapshot, NetlinkError> {
        match self.routes.snapshot().await {
            Err(NetlinkError::Closed) => {
                tracing::warn!("the netlink connection closed, opening another");
                self.routes = KernelRoutes::new(self.engine.config().protocol)
                    .map_err(|_| NetlinkError::Closed)?;
                self.routes.snapshot().await
            }
            other => other,
        }
    }
}

impl Daemon {
    /// Another look follows, after a while.
    pub(super) fn look_failed(&mut self, error: &NetlinkError) {
        self.looks_failed += 1;
        if self.looks_failed == LOOKS_FAILED_TOLD {
            tracing::warn!(%error, "the kernel's routes cannot be seen: nothing follows them until they can");
        } else {
            tracing::debug!(%error, "this look failed, another follows");
        }
        self.last_look = clock();
        self.look_at = self.last_look + BACK_OFF;
    }

    pub(super) fn look_succeeded(&mut self) {
        if std::mem::take(&mut self.looks_failed) >= LOOKS_FAILED_TOLD {
            tracing::info!("the kernel's routes can be seen again");
        }
    }
}

/// Whether a nexthop object, or a group that it is in, carries one of these routes.
fn is_needed(id: NexthopId, routes: &[Route], objects: &[Nexthop]) -> bool {
    let carries = |id: NexthopId| {
        routes
            .iter()
            .any(|route| route.next_hop == NextHop::Object(id))
    };
    let in_group = |object: &Nexthop| match &object.kind {
        NexthopKind::Group(members) => {
            carries(object.id) && members.iter().any(|(member, _)| *member == id)
        }
        NexthopKind::Single(_) | NexthopKind::Other(_) => false,
    };
    carries(id) || objects.iter().any(in_group)
}
