//! Many changes at once: whatever a plain message can say goes into a batch, the rest one by one between batches.

use std::collections::{HashMap, HashSet};

use crate::{
    netlink::{
        KernelRoutes, NetlinkError, RouteTable, apply, batch::Batch, codec::RawMessage, dump::Place,
    },
    network::{Change, Route},
    units::TableId,
};

impl KernelRoutes {
    /// Makes changes in their order. A change that a batch could not make is tried once more by itself, which tells what has
    /// happened already from what was refused, and why.
    pub(super) async fn apply_in_batches(
        &mut self,
        changes: &[Change],
    ) -> Vec<Result<(), NetlinkError>> {
        let foreign = match self.foreign_places(changes) {
            Ok(foreign) => foreign,
            Err(error) => {
                tracing::debug!(%error, "no batch without a look at the places");
                HashMap::new()
            }
        };
        let mut outcomes: Vec<Result<(), NetlinkError>> = Vec::with_capacity(changes.len());
        let mut pending: Vec<(RawMessage, u16)> = Vec::new();
        for change in changes {
            match self.plain(change, &foreign) {
                Some(request) => pending.push(request),
                None => {
                    self.flush(&mut pending, changes, &mut outcomes).await;
                    outcomes.push(self.apply(change).await);
                }
            }
        }
        self.flush(&mut pending, changes, &mut outcomes).await;
        outcomes
    }

    /// Sends what is pending, the changes from the first without an outcome on.
    async fn flush(
        &mut self,
        pending: &mut Vec<(RawMessage, u16)>,
        changes: &[Change],
        outcomes: &mut Vec<Result<(), NetlinkError>>,
    ) {
        let first = outcomes.len();
        let errnos = match self.batch().and_then(|batch| batch.change(pending)) {
            Ok(errnos) => errnos,
            Err(error) => {
                tracing::debug!(%error, "a batch failed; its changes are made one by one");
                self.batch = None;
                vec![libc::EIO; pending.len()]
            }
        };
        pending.clear();
        for (errno, change) in errnos.into_iter().zip(&changes[first..]) {
            outcomes.push(match errno {
                0 => Ok(()),
                _ => self.apply(change).await,
            });
        }
    }

    pub(super) fn batch(&mut self) -> std::io::Result<&mut Batch> {
        match &mut self.batch {
            Some(batch) => Ok(batch),
            none => Ok(none.insert(Batch::new()?)),
        }
    }

    /// The request of a change that needs no look before it.
    fn plain(
        &self,
        change: &Change,
        foreign: &HashMap<(TableId, bool), HashSet<Place>>,
    ) -> Option<(RawMessage, u16)> {
        let is_own = |route: &Route| route.protocol == self.protocol;
        match change {
            Change::Add(route) if is_own(route) => {
                Some((apply::addition(route)?, apply::INTO_FREE_SLOT))
            }
            Change::AddBeside(route) if is_own(route) => {
                let places = foreign.get(&(route.table, route.ipv6()))?;
                let is_free = !places.contains(&place(route));
                is_free.then(|| Some((apply::addition(route)?, apply::BESIDE)))?
            }
            // To the kernel a metric of 0 in a deletion means any.
            Change::Delete(route) if is_own(route) && route.metric.0 != 0 => {
                Some((apply::deletion(route)?, 0))
            }
            _ => None,
        }
    }

    /// Those places of others where something is to be added beside: a look at each table instead of one at each place.
    fn foreign_places(
        &mut self,
        changes: &[Change],
    ) -> Result<HashMap<(TableId, bool), HashSet<Place>>, NetlinkError> {
        let mut wanted: HashMap<(TableId, bool), HashSet<Place>> = HashMap::new();
        for change in changes {
            if let Change::AddBeside(route) = change {
                let places = wanted.entry((route.table, route.ipv6())).or_default();
                places.insert(place(route));
            }
        }
        let taken = wanted.into_iter().map(|((table, ipv6), places)| {
            let taken = self.places_of_others(table, ipv6, &places)?;
            Ok(((table, ipv6), taken))
        });
        taken.collect()
    }
}

fn place(route: &Route) -> Place {
    (route.table, route.destination, route.metric)
}
