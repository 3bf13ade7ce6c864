//! The variables of a script, checked whole: all problems are told at once.

use std::time::Duration;

use mlua::{Lua, Table, Value};

use super::api;
use crate::script::probe::PathKey;

/// Periods below this would be typing errors, and cost a processor.
const PERIOD_S_MIN: f64 = 0.001;

/// Some thirty years, which a clock can still add.
const PERIOD_S_MAX: f64 = 1e9;

/// The functions that a script may define.
const CALLBACKS: [&str; 3] = ["on_recv", "on_update", "on_quit"];

/// What a script asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Variables {
    /// The time from one probe of a path to its next.
    pub(super) ping_frequency: Duration,
    /// The time from one on_update to the next.
    pub(super) update_frequency: Duration,
    /// eBPF or raw sockets rather than echo sockets.
    pub(super) privileged: bool,
    /// Results count for so long.
    pub(super) num_seconds: Duration,
    /// What is probed from the start, in order.
    pub(super) probes: Vec<PathKey>,
}

/// Reads the script's globals.
pub(super) fn read(lua: &Lua) -> Result<Variables, Vec<String>> {
    let mut reader = Reader {
        globals: lua.globals(),
        problems: Vec::new(),
    };
    let variables = Variables {
        ping_frequency: reader.period("ping_frequency", Duration::from_secs(1)),
        update_frequency: reader.period("update_frequency", Duration::from_secs(1)),
        privileged: reader.privileged(),
        num_seconds: reader.period("num_seconds", Duration::from_secs(10)),
        probes: reader.probes(),
    };
    reader.callbacks();
    if reader.problems.is_empty() {
        Ok(variables)
    } else {
        Err(reader.problems)
    }
}

struct Reader {
    globals: Table,
    problems: Vec<String>,
}

impl Reader {
    /// Past the globals' metatable: it may raise an error, as "strict" modules do for names that are not defined.
    fn get(&self, name: &str) -> Value {
        self.globals.raw_get(name).unwrap_or(Value::Nil)
    }

    fn wrong(&mut self, name: &str, wanted: &str, found: &str) {
        let found = api::with_article(found);
        self.problems
            .push(format!("`{name}` must be {wanted}, not {found}"));
    }

    fn period(&mut self, name: &str, default: Duration) -> Duration {
        let seconds = match self.get(name) {
            Value::Nil => return default,
            Value::Integer(number) => number as f64,
            Value::Number(number) => number,
            other => {
                self.wrong(name, "a number", other.type_name());
                return default;
            }
        };
        if (PERIOD_S_MIN..=PERIOD_S_MAX).contains(&seconds) {
            return Duration::from_secs_f64(seconds);
        }
        self.problems.push(format!(
            "`{name}` must be a number of seconds above 0, from {PERIOD_S_MIN} to {PERIOD_S_MAX:e}, not {seconds}"
        ));
        default
    }

    fn privileged(&mut self) -> bool {
        match self.get("privileged") {
            Value::Nil => false,
            Value::Boolean(privileged) => privileged,
            other => {
                self.wrong("privileged", "a boolean", other.type_name());
                false
            }
        }
    }

    fn probes(&mut self) -> Vec<PathKey> {
        let table = match self.get("probes") {
            Value::Nil => return Vec::new(),
            Value::Table(table) => table,
            other => {
                self.wrong("probes", "an array of probes", other.type_name());
                return Vec::new();
            }
        };
        // Each is taken apart at once: Lua 5.1 lets only some thousands of values be held at a time.
        let mut elements = Vec::new();
        let each = table.for_each(|key: Value, value: Value| {
            let probe = api::probe_of(&value).map(|probe| probe.0.clone());
            elements.push((Place::of(&key), probe.map_err(|_| value.type_name())));
            Ok(())
        });
        if let Err(error) = each {
            self.problems.push(format!("`probes`: {error}"));
        }
        elements.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut keys = Vec::new();
        for (place, probe) in elements {
            match probe {
                Ok(key) => keys.push(key),
                Err(found) => self.wrong(&format!("probes[{}]", place.tell()), "a probe", found),
            }
        }
        keys
    }

    fn callbacks(&mut self) {
        for name in CALLBACKS {
            match self.get(name) {
                Value::Nil | Value::Function(_) => {}
                other => self.wrong(name, "a function", other.type_name()),
            }
        }
    }
}

/// Where in `probes` one is: by index, and behind these by name.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Index(i64),
    Named(String),
}

impl Place {
    fn of(key: &Value) -> Self {
        match key {
            Value::Integer(index) => Self::Index(*index),
            Value::String(name) => Self::Named(format!("\"{}\"", name.to_string_lossy())),
            other => Self::Named(other.to_string().unwrap_or_default()),
        }
    }

    fn tell(&self) -> String {
        match self {
            Self::Index(index) => index.to_string(),
            Self::Named(name) => name.clone(),
        }
    }
}
