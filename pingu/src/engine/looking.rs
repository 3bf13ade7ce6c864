//! What the kernel says, taken in: only what has changed is looked at again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    time::Instant,
};

use crate::{
    engine::{Engine, neighbours::Key, way_out::Readiness},
    network::{Neighbour, NeighbourState, Snapshot},
    units::{GroupId, Ifindex, PathId, UplinkId},
};

impl Engine {
    /// Takes a fresh look at the kernel.
    pub fn network(&mut self, snapshot: Snapshot, now: Instant) {
        let numbers: BTreeSet<Ifindex> = snapshot.links.iter().map(|link| link.ifindex).collect();
        let is_there = |(ifindex, _): &Key| numbers.contains(ifindex);
        self.solicited.retain(|key, _| is_there(key));
        self.doubted.retain(|key, _| is_there(key));
        self.find_links(&snapshot);
        self.snapshot = snapshot;
        self.fights.forget(now);
        self.forget_stale_adopted();
        let mut paths: BTreeSet<PathId> = self.find_ways();
        self.hints.note(&self.config.uplinks, &self.uplinks);
        self.find_counters();
        if !self.oriented {
            self.oriented = true;
            for index in 0..self.rankings.len() {
                self.rankings[index].standing = self.found_standing(GroupId(index as u16));
            }
        }
        self.note_neighbours(&mut paths, now);
        self.refresh(paths, now);
        self.find_check_ways(now);
        self.revision += 1;
        self.unsettle_all();
        self.rank(now);
    }

    /// Probes can leave by an uplink's interface, which nothing served before: what was due meanwhile has waited, or said nothing, and
    /// is due now.
    pub fn serves(&mut self, id: UplinkId, now: Instant) {
        let mut paths: Vec<usize> = self.uplinks[id.index()].paths.clone().collect();
        paths.sort_by_key(|index| self.places[*index]);
        for index in paths {
            let path = &mut self.paths[index];
            path.record.is_served = true;
            if path.record.is_blocked() {
                continue;
            }
            if !path.tells() || path.record.judged.is_none() {
                let probe = &self.config.uplinks[id.index()].probe;
                path.begin_by(self.pace.next(probe, now));
            }
            self.note_wants(PathId(index as u32), now);
        }
    }

    /// Takes news of one neighbour.
    pub fn neighbour(&mut self, neighbour: &Neighbour, now: Instant) {
        let key = (neighbour.ifindex, neighbour.address);
        let before = self.neighbours.insert(key, neighbour.state);
        if before == Some(neighbour.state) {
            return;
        }
        let was_usable = matches!(
            before,
            Some(NeighbourState::Usable(_) | NeighbourState::Fixed(_))
        );
        if was_usable && neighbour.state == NeighbourState::Failed {
            // An entry that was flushed is asked for at once: it says nothing about the neighbour.
            self.solicited.remove(&key);
        }
        let paths: BTreeSet<PathId> = self.paths_by(key).collect();
        if !paths.is_empty() {
            self.ask_later(key, now);
            self.refresh(paths, now);
        }
    }

    /// Finds each uplink's interface in a snapshot.
    fn find_links(&mut self, snapshot: &Snapshot) {
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (place, link) in snapshot.links.iter().enumerate() {
            let others = link.alternative_names.iter().map(String::as_str);
            for name in others.chain([link.name.as_str()]) {
                places.entry(name).or_insert(place);
            }
        }
        self.uplinks_on.clear();
        for (index, uplink) in self.config.uplinks.iter().enumerate() {
            let place = places.get(uplink.interface.as_str()).copied();
            self.link_places[index] = place;
            if let Some(place) = place {
                let on_it = self.uplinks_on.entry(snapshot.links[place].ifindex);
                on_it.or_default().push(UplinkId(index as u16));
            }
        }
    }

    /// Finds each uplink's ways out, and returns the paths of those whose ways have changed.
    fn find_ways(&mut self) -> BTreeSet<PathId> {
        let mut paths = BTreeSet::new();
        for (index, uplink) in self.uplinks.iter_mut().enumerate() {
            let before = uplink.ways;
            uplink.look(
                &self.config.uplinks[index],
                self.link_places[index].map(|place| &self.snapshot.links[place]),
                &self.snapshot,
                self.config.protocol,
                &self.adopted,
                self.hints.of(UplinkId(index as u16)),
            );
            if uplink.ways != before {
                paths.extend(uplink.paths.clone().map(|path| PathId(path as u32)));
            }
        }
        paths
    }

    /// Takes in the neighbours of a look, and adds the paths by those that have changed. `paths` are those of other ways out: their
    /// neighbours are asked for.
    fn note_neighbours(&mut self, paths: &mut BTreeSet<PathId>, now: Instant) {
        let found = self.snapshot.neighbours.iter();
        let found: BTreeMap<(Ifindex, IpAddr), NeighbourState> =
            found.map(|n| ((n.ifindex, n.address), n.state)).collect();
        let before = std::mem::replace(&mut self.neighbours, found);
        let mut keys: BTreeSet<Key> = paths
            .iter()
            .filter_map(|id| self.neighbour_of(*id))
            .collect();
        let is_new = |(key, state): &(&Key, &NeighbourState)| before.get(key) != Some(*state);
        let mut changed: Vec<Key> = self
            .neighbours
            .iter()
            .filter(is_new)
            .map(|(key, _)| *key)
            .collect();
        let is_gone = |key: &&Key| !self.neighbours.contains_key(key);
        changed.extend(before.keys().filter(is_gone));
        for key in changed {
            let behind = self.paths.len();
            let by_it: Vec<PathId> = self.paths_by(key).take(behind).collect();
            if !by_it.is_empty() {
                keys.insert(key);
                paths.extend(by_it);
            }
        }
        for key in keys {
            self.ask_later(key, now);
        }
    }

    /// Finds out whether these can be probed. First bursts are due in the order of their places.
    fn refresh(&mut self, paths: BTreeSet<PathId>, now: Instant) {
        let mut paths: Vec<PathId> = paths.into_iter().collect();
        paths.sort_by_key(|id| self.places[id.index()]);
        for id in paths {
            let neighbour = self.neighbour_of(id);
            let known = neighbour.and_then(|key| self.neighbours.get(&key).copied());
            let path = &mut self.paths[id.index()];
            let readiness = match self.uplinks[path.uplink.index()].way(path.target) {
                Some(way) => way.readiness(known),
                None => Readiness::Blocked,
            };
            if path.record.readiness == readiness {
                continue;
            }
            let begins = path.record.readiness == Readiness::Blocked;
            let probe = &self.config.uplinks[path.uplink.index()].probe;
            let first_burst = if begins {
                self.pace.next(probe, now)
            } else {
                now
            };
            path.set_readiness(readiness, first_burst, now);
            self.note_wants(id, now);
            self.review(id, false);
        }
    }
}
