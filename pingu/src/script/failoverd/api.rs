//! What a script finds beside Lua's own library: `probe`, and through its callbacks' arguments the results.

use std::{sync::Arc, time::Instant};

use mlua::{
    Error, FromLua, FromLuaMulti, Function, IntoLuaMulti, Lua, MetaMethod, Result, Table, UserData,
    UserDataFields, UserDataMethods, UserDataRef, Value,
};

use super::{
    address,
    method::method,
    results::{self, RttSummary},
    shared::Shared,
    store::{PathNumber, PathStatistics, Store},
    words,
};
use crate::script::{
    probe::{Origin, PathKey},
    vm,
};

/// A `probe` of the script.
#[derive(Clone, Debug)]
pub(super) struct Probe(pub(super) PathKey);

/// `global_probe_stats`: always what is known at the moment.
pub(super) struct GlobalStatistics(pub(super) Arc<Shared>);

/// `probe_stats`: what was known when the script asked for it, and stays so; but round-trip times are looked up, since they are many.
pub(super) struct Statistics {
    known: PathStatistics,
    shared: Arc<Shared>,
}

/// Defines the global `probe`.
pub(super) fn define(lua: &Lua, shared: &Arc<Shared>) -> Result<()> {
    let probe = lua.create_table()?;
    let new = |_: &Lua, (destination, source): (Text, Option<Text>)| {
        let key = address::path(&destination.0, source.as_ref().map(Text::as_str));
        key.map(Probe).map_err(refused)
    };
    probe.set("new", function(lua, new)?)?;
    let with = Arc::clone(shared);
    let start = move |_: &Lua, value: Value| {
        let key = probe_of(&value)?.0.clone();
        let is_new = with.store(|store, now| store.start(key, now));
        with.paths_changed.notify_one();
        is_new.map_err(refused)
    };
    probe.set("start", function(lua, start)?)?;
    let with = Arc::clone(shared);
    let stop = move |_: &Lua, (destination, source): (Text, Option<Text>)| {
        let address = address::host(&destination.0).map_err(refused)?;
        let source = source.as_ref().map(Text::as_str);
        let stopped = with.store(|store, _| store.stop(address, source));
        with.paths_changed.notify_one();
        Ok(stopped > 0)
    };
    probe.set("stop", function(lua, stop)?)?;
    lua.globals().set("probe", probe)
}

/// `gps:get`.
fn get(
    _: &Lua,
    gps: &GlobalStatistics,
    (destination, source): (Text, Option<Text>),
) -> Result<Statistics> {
    let address = address::host(&destination.0).map_err(refused)?;
    let source = source.as_ref().map(Text::as_str);
    let found = gps.look(|store, now| store.get(address, source, now));
    found.ok_or_else(|| {
        let from = source.map_or(String::new(), |text| format!(" from `{text}`"));
        Error::runtime(format!("no probe of {address}{from} is running"))
    })
}

/// A function whose errors are texts with the place of the call, as those of Lua's own functions are.
pub(super) fn function<A: FromLuaMulti, R: IntoLuaMulti>(
    lua: &Lua,
    call: impl Fn(&Lua, A) -> Result<R> + Send + 'static,
) -> Result<Function> {
    vm::raising(lua, move |lua, values| {
        let arguments = A::from_lua_multi(values, lua).map_err(|error| match error {
            // What is wrong with it, without Rust's names for it.
            Error::BadArgument { cause, .. } => Error::runtime(cause),
            other => other,
        })?;
        call(lua, arguments)?.into_lua_multi(lua)
    })
}

fn refused(error: impl std::error::Error) -> Error {
    Error::runtime(error)
}

/// A string and nothing that Lua would turn into one: `probe.new(10)` is a mistake.
struct Text(String);

impl Text {
    fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromLua for Text {
    fn from_lua(value: Value, _: &Lua) -> Result<Self> {
        match &value {
            Value::String(text) => Ok(Self(text.to_string_lossy())),
            other => {
                let found = other.type_name();
                // Called with a colon, a function gets its own table first.
                let hint = match other {
                    Value::Table(_) => "; functions of `probe` are called with a dot",
                    _ => "",
                };
                Err(Error::runtime(format!(
                    "an address must be a string, not {}{hint}",
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
        method(fields, "probe:dst()", |_, probe, ()| {
            Ok(probe.0.destination.to_string())
        });
        method(fields, "probe:src()", |_, probe, ()| {
            Ok(source_text(&probe.0.origin))
        });
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
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

impl Statistics {
    pub(super) fn new(known: PathStatistics, shared: &Arc<Shared>) -> Self {
        Self {
            known,
            shared: Arc::clone(shared),
        }
    }
}

impl GlobalStatistics {
    fn look(
        &self,
        look: impl FnOnce(&mut Store, Instant) -> Option<PathStatistics>,
    ) -> Option<Statistics> {
        let known = self.0.store(look)?;
        Some(Statistics::new(known, &self.0))
    }

    /// The first path, or the one that follows another.
    fn after(&self, number: Option<PathNumber>) -> Option<Statistics> {
        self.look(|store, now| {
            let next = store.after(number)?;
            store.at(next, now)
        })
    }

    fn len(&self) -> usize {
        self.0.store(|store, _| store.len())
    }
}

impl UserData for GlobalStatistics {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(MetaMethod::Type, "global_probe_stats");
        method(fields, "gps:get(dst)", get);
        method(fields, "gps:lowest_loss()", |_, gps, ()| {
            Ok(gps.look(|store, now| store.lowest_loss(now)))
        });
        method(fields, "gps:all()", |lua, gps, ()| {
            let all = lua.create_table()?;
            let mut next = gps.after(None);
            while let Some(statistics) = next {
                next = gps.after(Some(statistics.known.number));
                all.raw_push(statistics)?;
            }
            Ok(all)
        });
        method(fields, "gps:iter()", |lua, gps, ()| {
            let gps = GlobalStatistics(Arc::clone(&gps.0));
            let mut before = None;
            lua.create_function_mut(move |_, ()| {
                let next = gps.after(before);
                before = next.as_ref().map(|next| next.known.number).or(before);
                Ok(next)
            })
        });
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::Len, |_, gps, ()| Ok(gps.len()));
        // `for ps in gps do` calls it with the one before.
        methods.add_meta_method(
            MetaMethod::Call,
            |_, gps, (_, before): (Value, Option<UserDataRef<Statistics>>)| {
                Ok(gps.after(before.map(|before| before.known.number)))
            },
        );
        methods.add_meta_method(MetaMethod::ToString, |_, gps, ()| {
            Ok(format!("global_probe_stats of {}", gps.len()))
        });
    }
}

impl UserData for Statistics {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(MetaMethod::Type, "probe_stats");
        method(fields, "ps:src()", |_, ps, ()| {
            let known = ps.known.source.map(|address| address.to_string());
            Ok(known.unwrap_or_else(|| source_text(&ps.known.key.origin)))
        });
        method(fields, "ps:dst()", |_, ps, ()| {
            Ok(ps.known.key.destination.to_string())
        });
        method(fields, "ps:interface()", |_, ps, ()| {
            Ok(match &ps.known.key.origin {
                Origin::Interface(name) => Some(name.clone()),
                Origin::Any | Origin::Source(_) => None,
            })
        });
        method(fields, "ps:loss()", |_, ps, ()| Ok(ps.known.loss_percent));
        method(fields, "ps:sent()", |_, ps, ()| Ok(ps.known.count));
        method(fields, "ps:lost()", |_, ps, ()| Ok(ps.known.lost));
        method(fields, "ps:cause()", |_, ps, ()| {
            let destination = ps.known.key.destination;
            Ok(ps.known.cause.map(|loss| words::cause(loss, destination)))
        });
        method(fields, "ps:rtt()", |lua, ps, ()| {
            let number = ps.known.number;
            let rtts = ps.shared.store(|store, now| store.rtts(number, now));
            let summary = results::summary(&rtts);
            summary.map(|rtt| rtt_table(lua, &rtt)).transpose()
        });
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::ToString, |_, ps, ()| {
            let loss = ps.known.loss_percent;
            Ok(format!("{}: {loss:.2} % lost", tell(&ps.known.key)))
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
