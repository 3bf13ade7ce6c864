//! What the kernel has acknowledged counts as seen until the next look, which takes long where there are thousands of routes.

use std::collections::HashMap;

use crate::{
    engine::{
        Engine,
        reconcile::{Place, place},
    },
    network::{Change, NextHop, Route},
};

impl Engine {
    /// Takes changes that the kernel has acknowledged: own routes that were added stand from here on, and deleted ones do not.
    pub fn acknowledge(&mut self, made: &[Change]) {
        let mut added: Vec<Route> = Vec::new();
        let mut deleted: HashMap<Place, Vec<&NextHop>> = HashMap::new();
        for change in made {
            if let Change::Add(route) | Change::AddBeside(route) = change {
                added.push(route.clone());
            } else if let Change::Delete(route) = change {
                let hops = deleted.entry(place(route)).or_default();
                hops.push(&route.next_hop);
            }
        }
        let own = self.config.protocol;
        self.snapshot.routes.retain(|route| {
            let hops = deleted.get(&place(route)).filter(|_| route.protocol == own);
            !hops.is_some_and(|hops| hops.contains(&&route.next_hop))
        });
        self.snapshot.routes.append(&mut added);
    }
}
