//! Scripts as strings, with outcomes that the tests make up: no socket, no thread.
#![expect(clippy::disallowed_methods, reason = "tests read the clock")]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    machine::Machine,
    shared::{Call, Shared},
    variables::Variables,
};
use crate::script::{
    probe::{Loss, Origin, Outcome, PathKey},
    vm::ScriptError,
};

mod agenda;
mod dns;
mod gps;
mod machine;
mod probes;
mod results;
mod store;
mod variables;

/// A script in its machine, and what it shares.
struct Bench {
    machine: Machine,
    variables: Variables,
    shared: Arc<Shared>,
}

impl Bench {
    /// Loads a script and starts its probes.
    fn new(text: &str) -> Self {
        let shared = Arc::new(Shared::new(Duration::from_secs(10)));
        let (machine, variables) =
            Machine::load(Path::new("config.lua"), text.as_bytes(), &shared).expect("a script");
        let bench = Self {
            machine,
            variables,
            shared,
        };
        for key in bench.variables.probes.clone() {
            bench.start(&key);
        }
        bench
    }

    fn start(&self, key: &PathKey) {
        let started = self
            .shared
            .store(|store, now| store.start(key.clone(), now));
        started.expect("few probes");
    }

    /// What becomes of a probe.
    fn outcome(&self, key: &PathKey, result: Result<Duration, Loss>) {
        self.shared.record(&outcome(key, result));
    }

    /// Calls on_update.
    fn update(&self) -> Result<(), ScriptError> {
        self.machine.call(&Call::Update)
    }

    /// What the script has set.
    fn global(&self, name: &str) -> String {
        let value = self.machine.global(name);
        value.to_string().expect("a value that can be told")
    }
}

/// What keeps a script from being loaded.
fn problems(text: &str) -> Vec<String> {
    let shared = Arc::new(Shared::new(Duration::from_secs(10)));
    let loaded = Machine::load(Path::new("config.lua"), text.as_bytes(), &shared);
    loaded.err().expect("a mistake")
}

fn path(destination: &str) -> PathKey {
    PathKey {
        destination: destination.parse().expect("an address"),
        origin: Origin::Any,
    }
}

fn path_by(destination: &str, interface: &str) -> PathKey {
    PathKey {
        destination: destination.parse().expect("an address"),
        origin: Origin::Interface(interface.to_owned()),
    }
}

fn outcome(key: &PathKey, result: Result<Duration, Loss>) -> Outcome {
    Outcome {
        path: key.clone(),
        source: None,
        sent_at: Instant::now(),
        result,
    }
}

const fn ms(ms: u64) -> Result<Duration, Loss> {
    Ok(Duration::from_millis(ms))
}
