//! What a script finds beside Lua's own library: `probe`, and through its callbacks' arguments the results.

use std::sync::Arc;

use mlua::{
    Error, FromLua, Lua, MetaMethod, Result, Table, UserData, UserDataFields, UserDataMethods,
    UserDataRef, Value,
};

use super::{
    address,
    results::{self, RttSummary},
    shared::Shared,
    store::{PathNumber, PathStatistics},
    words,
};
use crate::script::probe::{Origin, PathKey};

/// A `probe` of the script.
#[derive(Clone, Debug)]
pub(super) struct Probe(pub(super) PathKey);

/// `global_probe_stats`: always what is known at the moment.
pub(super) struct GlobalStatistics(pub(super) Arc<Shared>);

/// `probe_stats`: what was known when the script asked for it, and stays so.
pub(super) struct Statistics(pub(super) PathStatistics);

/// Defines the global `probe`.
pub(super) fn define(lua: &Lua, shared: &Arc<Shared>) -> Result<()> {
    let probe = lua.create_table()?;
    let new = |_: &Lua, (destination, source): (Text, Option<Text>)| {
        let source = source.as_ref().map(|source| source.0.as_str());
        let key = address::path(&destination.0, source).map_err(Error::external)?;
        Ok(Probe(key))
    };
    probe.set("new", lua.create_function(new)?)?;
    let with = Arc::clone(shared);
    let start = move |_: &Lua, value: Value| {
        let key = probe_of(&value)?.0.clone();
        let is_new = with.store(|store, now| store.start(key, now));
        with.paths_changed.notify_one();
        is_new.map_err(Error::external)
    };
    probe.set("start", lua.create_function(start)?)?;
    let with = Arc::clone(shared);
    let stop = move |_: &Lua, (destination, source): (Text, Option<Text>)| {
        let address = address::host(&destination.0).map_err(Error::external)?;
        let source = source.as_ref().map(|source| source.0.as_str());
        let stopped = with.store(|store, _| store.stop(address, source));
        with.paths_changed.notify_one();
        Ok(stopped > 0)
    };
    probe.set("stop", lua.create_function(stop)?)?;
    lua.globals().set("probe", probe)
}

/// A string and nothing that Lua would turn into one: `probe.new(10)` is a mistake.
struct Text(String);

impl FromLua for Text {
    fn from_lua(value: Value, _: &Lua) -> Result<Self> {
        match &value {
            Value::String(text) => Ok(Self(text.to_string_lossy())),
            other => {
                let found = other.type_name();
                Err(Error::runtime(format!(
                    "an address must be a string, not {}",
                    with_article(found)
                )))
            }
        }
    }
}

/// The probe that a value is.
pub(super) fn probe_of(value: &Value) -> Result<UserDataRef<Probe>> {
    let probe = match value {
        Value::UserData(data) => data.borrow::<Probe>().ok(),
        _ => None,
    };
    probe.ok_or_else(|| {
        let found = with_article(value.type_name());
        Error::runtime(format!("a probe of probe.new(..) is needed, not {found}"))
    })
}

/// A type of Lua in a sentence.
pub(super) fn with_article(type_name: &str) -> String {
    match type_name {
        "nil" | "userdata" => type_name.to_owned(),
        "integer" => "a number".to_owned(),
        other => format!("a {other}"),
    }
}

fn source_text(origin: &Origin) -> String {
    match origin {
        Origin::Any => String::new(),
        Origin::Source(address) => address.to_string(),
        Origin::Interface(name) => name.clone(),
    }
}

impl UserData for Probe {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(MetaMethod::Type, "probe");
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("dst", |_, probe, ()| Ok(probe.0.destination.to_string()));
        methods.add_method("src", |_, probe, ()| Ok(source_text(&probe.0.origin)));
        methods.add_meta_method(MetaMethod::ToString, |_, probe, ()| Ok(tell(&probe.0)));
    }
}

/// A path in words.
pub(super) fn tell(key: &PathKey) -> String {
    let destination = key.destination;
    match &key.origin {
        Origin::Any => destination.to_string(),
        Origin::Source(address) => format!("{destination} from {address}"),
        Origin::Interface(name) => format!("{destination} by {name}"),
    }
}

/// How a script makes the probe of a path.
pub(super) fn constructor(key: &PathKey) -> String {
    let source = source_text(&key.origin);
    let source = match source.as_str() {
        "" => String::new(),
        source => format!(", \"{source}\""),
    };
    format!("probe.new(\"{}\"{source})", key.destination)
}

impl GlobalStatistics {
    fn look(&self, number: Option<PathNumber>) -> Option<Statistics> {
        let number = number?;
        let found = self.0.store(|store, now| store.at(number, now));
        found.map(Statistics)
    }

    fn all(&self) -> Vec<Statistics> {
        let mut all = Vec::new();
        self.0.store(|store, now| {
            let mut next = store.after(None);
            while let Some(number) = next {
                all.extend(store.at(number, now).map(Statistics));
                next = store.after(Some(number));
            }
        });
        all
    }
}

impl UserData for GlobalStatistics {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(MetaMethod::Type, "global_probe_stats");
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("lowest_loss", |_, gps, ()| {
            let found = gps.0.store(|store, now| store.lowest_loss(now));
            Ok(found.map(Statistics))
        });
        methods.add_method(
            "get",
            |_, gps, (destination, source): (Text, Option<Text>)| {
                let address = address::host(&destination.0).map_err(Error::external)?;
                let source = source.as_ref().map(|source| source.0.as_str());
                let found = gps.0.store(|store, now| store.get(address, source, now));
                found.map(Statistics).ok_or_else(|| {
                    let from = source.map_or(String::new(), |text| format!(" from `{text}`"));
                    Error::runtime(format!("no probe of {address}{from} is running"))
                })
            },
        );
        methods.add_method("all", |_, gps, ()| Ok(gps.all()));
        methods.add_method("iter", |lua, gps, ()| {
            let mut all = gps.all().into_iter();
            lua.create_function_mut(move |_, ()| Ok(all.next()))
        });
        methods.add_meta_method(MetaMethod::Len, |_, gps, ()| {
            Ok(gps.0.store(|store, _| store.len()))
        });
        // `for ps in gps do` calls it with the one before.
        methods.add_meta_method(
            MetaMethod::Call,
            |_, gps, (_, before): (Value, Option<UserDataRef<Statistics>>)| {
                let before = before.map(|before| before.0.number);
                let next = gps.0.store(|store, _| store.after(before));
                Ok(gps.look(next))
            },
        );
        methods.add_meta_method(MetaMethod::ToString, |_, gps, ()| {
            let count = gps.0.store(|store, _| store.len());
            Ok(format!("global_probe_stats of {count}"))
        });
    }
}

impl UserData for Statistics {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(MetaMethod::Type, "probe_stats");
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("src", |_, ps, ()| {
            let known = ps.0.source.map(|address| address.to_string());
            Ok(known.unwrap_or_else(|| source_text(&ps.0.key.origin)))
        });
        methods.add_method("dst", |_, ps, ()| Ok(ps.0.key.destination.to_string()));
        methods.add_method("interface", |_, ps, ()| {
            Ok(match &ps.0.key.origin {
                Origin::Interface(name) => Some(name.clone()),
                Origin::Any | Origin::Source(_) => None,
            })
        });
        methods.add_method("loss", |_, ps, ()| Ok(ps.0.loss_percent));
        methods.add_method("sent", |_, ps, ()| Ok(ps.0.count));
        methods.add_method("lost", |_, ps, ()| Ok(ps.0.lost));
        methods.add_method("cause", |_, ps, ()| {
            let destination = ps.0.key.destination;
            Ok(ps.0.cause.map(|loss| words::cause(loss, destination)))
        });
        methods.add_method("rtt", |lua, ps, ()| {
            let summary = results::summary(&ps.0.rtts);
            summary.map(|rtt| rtt_table(lua, &rtt)).transpose()
        });
        methods.add_meta_method(MetaMethod::ToString, |_, ps, ()| {
            let loss = ps.0.loss_percent;
            Ok(format!("{}: {loss:.2} % lost", tell(&ps.0.key)))
        });
    }
}

fn rtt_table(lua: &Lua, rtt: &RttSummary) -> Result<Table> {
    let fields = [
        ("min", rtt.min),
        ("mean", rtt.mean),
        ("p50", rtt.p50),
        ("p99", rtt.p99),
        ("max", rtt.max),
        ("jitter", rtt.jitter),
    ];
    lua.create_table_from(fields)
}
