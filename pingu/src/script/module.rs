//! The global `pingu` of scripts: what they see of uplinks, what they may wish, and timers.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use mlua::{IntoLuaMulti, Lua, MultiValue, Table, Value};

use crate::{
    engine::{State, UplinkView},
    script::vm::{ScriptError, Vm, raising},
};

mod alone;
mod log;
mod route;

pub use alone::Alone;
pub use log::Pen;
pub use route::RouteOrder;
use route::route_order;

/// Timers that wait at the same time.
const TIMERS_MAX: usize = 64;

/// The least pause before a timer's function is called: one that sets itself anew keeps a processor busy no longer than this lets it.
const AFTER_MIN: Duration = Duration::from_millis(100);

/// A timer that is due later is nobody's.
const AFTER_MAX: Duration = Duration::from_secs(366 * 86_400);

/// What a script's wishes are made to. In a failoverd script there is no daemon, and no uplinks.
pub trait Host: Send + Sync {
    /// The uplinks, in the order of the configuration.
    fn uplinks(&self) -> Arc<Vec<UplinkView>>;

    /// Prefers an uplink to those that the order puts before it, or no more.
    ///
    /// # Errors
    /// Why not.
    fn prefer(&self, name: Option<&str>) -> Result<(), String>;

    /// Pins an uplink as `pingu pin` does, or no more.
    ///
    /// # Errors
    /// Why not.
    fn pin(&self, name: Option<&str>) -> Result<(), String>;

    /// Adds a route, or deletes those of this script that match.
    ///
    /// # Errors
    /// Why not.
    fn route(&self, order: RouteOrder) -> Result<(), String>;

    /// Writes to the log.
    fn log(&self, text: &str);
}

/// What a script has asked to be called later.
#[derive(Clone, Default)]
pub struct Timers(Arc<Mutex<Vec<Timer>>>);

struct Timer {
    due: Instant,
    call: mlua::Function,
}

impl Timers {
    /// When the next one is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.locked().iter().map(|timer| timer.due).min()
    }

    /// Calls one that is due, if there is one, within the time limit of a call.
    pub fn run_due(&self, vm: &Vm, now: Instant) -> Option<Result<(), ScriptError>> {
        let timer = {
            let mut all = self.locked();
            let due = (0..all.len()).filter(|&index| all[index].due <= now);
            let first = due.min_by_key(|&index| all[index].due)?;
            all.remove(first)
        };
        Some(vm.call(|_| timer.call.call::<()>(())))
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Timer>> {
        self.0.lock().expect("nobody panics while holding it")
    }
}

/// Adds the global `pingu`, also for `require`. `clock` says what time it is.
///
/// # Errors
/// When there is no memory for it.
pub fn install_pingu_module(
    lua: &Lua,
    host: &Arc<dyn Host>,
    clock: fn() -> Instant,
) -> mlua::Result<Timers> {
    let module = lua.create_table()?;
    let timers = Timers::default();
    let methods = methods(lua, host)?;
    let own = Arc::clone(host);
    add(lua, &module, "uplinks", move |lua, _| {
        let all = lua.create_table()?;
        for view in own.uplinks().iter() {
            all.raw_push(uplink(lua, view, &methods)?)?;
        }
        all.into_lua_multi(lua)
    })?;
    let own = Arc::clone(host);
    add(lua, &module, "unprefer", move |lua, _| {
        done(lua, own.prefer(None))
    })?;
    let own = Arc::clone(host);
    add(lua, &module, "pin", move |lua, mut values| {
        let name = name_or_nil(values.pop_front(), "pin")?;
        done(lua, own.pin(name.as_deref()))
    })?;
    let own = Arc::clone(host);
    add(lua, &module, "route", move |lua, mut values| {
        let order = route_order(lua, values.pop_front())?;
        done(lua, own.route(order))
    })?;
    let own = Arc::clone(host);
    add(lua, &module, "log", move |lua, mut values| {
        let value = values.pop_front().unwrap_or(Value::Nil);
        let text = match lua.coerce_string(value.clone())? {
            Some(text) => text.to_string_lossy(),
            None => value.to_string()?,
        };
        own.log(&text);
        ().into_lua_multi(lua)
    })?;
    let own = timers.clone();
    add(lua, &module, "after", move |lua, values| {
        let (seconds, call) = after(lua, values)?;
        let mut all = own.locked();
        if all.len() >= TIMERS_MAX {
            return Err(mlua::Error::runtime(format!(
                "pingu.after: {TIMERS_MAX} timers wait already"
            )));
        }
        all.push(Timer {
            due: clock() + seconds,
            call,
        });
        ().into_lua_multi(lua)
    })?;
    if let Some(Value::Table(loaded)) = lua
        .globals()
        .raw_get::<Option<Table>>("package")?
        .map(|package| package.raw_get("loaded"))
        .transpose()?
    {
        loaded.raw_set("pingu", &module)?;
    }
    lua.globals().raw_set("pingu", module)?;
    Ok(timers)
}

fn add(
    lua: &Lua,
    module: &Table,
    name: &str,
    call: impl Fn(&Lua, MultiValue) -> mlua::Result<MultiValue> + Send + 'static,
) -> mlua::Result<()> {
    module.raw_set(name, raising(lua, call)?)
}

fn done(lua: &Lua, outcome: Result<(), String>) -> mlua::Result<MultiValue> {
    outcome.map_err(mlua::Error::runtime)?;
    true.into_lua_multi(lua)
}

fn name_or_nil(value: Option<Value>, function: &str) -> mlua::Result<Option<String>> {
    match value {
        None | Some(Value::Nil) => Ok(None),
        Some(Value::String(name)) => Ok(Some(name.to_string_lossy())),
        Some(Value::Table(uplink)) if uplink.raw_get::<Value>(NAME)?.is_string() => {
            Ok(Some(uplink.raw_get(NAME)?))
        }
        Some(other) => Err(mlua::Error::runtime(format!(
            "pingu.{function} takes the name of an uplink or nil, not a {}",
            other.type_name()
        ))),
    }
}

fn after(lua: &Lua, mut values: MultiValue) -> mlua::Result<(Duration, mlua::Function)> {
    let wrong = || mlua::Error::runtime("pingu.after takes seconds, from 0 up, and a function");
    let seconds = lua.coerce_number(values.pop_front().unwrap_or(Value::Nil))?;
    let Some(Value::Function(call)) = values.pop_front() else {
        return Err(wrong());
    };
    let seconds = seconds.ok_or_else(wrong)?;
    let seconds = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    Ok((seconds.clamp(AFTER_MIN, AFTER_MAX), call))
}

/// Where an uplink's table keeps its values, which its methods return.
pub(in crate::script) const NAME: &str = "_name";

/// The metatable of uplinks.
fn methods(lua: &Lua, host: &Arc<dyn Host>) -> mlua::Result<Table> {
    let methods = lua.create_table()?;
    for (method, key) in [
        ("name", NAME),
        ("state", "_state"),
        ("loss", "_loss"),
        ("interface", "_interface"),
        ("gateway", "_gateway"),
        ("active", "_active"),
    ] {
        add(lua, &methods, method, move |lua, mut values| {
            own(&mut values, method)?
                .raw_get::<Value>(key)?
                .into_lua_multi(lua)
        })?;
    }
    add(lua, &methods, "rtt", |lua, mut values| {
        // A table of its own each time: what a script changes in it is no measurement.
        let Some(kept) = own(&mut values, "rtt")?.raw_get::<Option<Table>>("_rtt")? else {
            return Value::Nil.into_lua_multi(lua);
        };
        let told = lua.create_table()?;
        for pair in kept.pairs::<Value, Value>() {
            let (key, value) = pair?;
            told.raw_set(key, value)?;
        }
        told.into_lua_multi(lua)
    })?;
    let host = Arc::clone(host);
    add(lua, &methods, "prefer", move |lua, mut values| {
        let name: String = own(&mut values, "prefer")?.raw_get(NAME)?;
        done(lua, host.prefer(Some(&name)))
    })?;
    let metatable = lua.create_table()?;
    metatable.raw_set("__index", methods)?;
    Ok(metatable)
}

fn own(values: &mut MultiValue, method: &str) -> mlua::Result<Table> {
    let uplink = values
        .pop_front()
        .and_then(|value| value.as_table().cloned());
    let uplink = uplink.filter(|table| {
        table
            .raw_get::<Value>(NAME)
            .is_ok_and(|name| name.is_string())
    });
    uplink.ok_or_else(|| {
        mlua::Error::runtime(format!(
            "call it as a method of an uplink: uplink:{method}()"
        ))
    })
}

fn uplink(lua: &Lua, view: &UplinkView, metatable: &Table) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set(NAME, view.name.as_str())?;
    let state = match view.state {
        State::Up => "up",
        State::Down => "down",
        State::Unknown => "unknown",
    };
    table.raw_set("_state", state)?;
    table.raw_set("_loss", view.loss_percent)?;
    table.raw_set("_interface", view.interface.as_str())?;
    table.raw_set("_gateway", view.gateway.map(|gateway| gateway.to_string()))?;
    table.raw_set("_active", view.active)?;
    if let Some(rtt) = &view.rtt_us {
        let told = lua.create_table()?;
        for (key, us) in [
            ("mean", rtt.mean),
            ("p50", rtt.p50),
            ("p99", rtt.p99),
            ("jitter", rtt.jitter),
        ] {
            told.raw_set(key, us / 1000.0)?;
        }
        table.raw_set("_rtt", told)?;
    }
    table.set_metatable(Some(metatable.clone()))?;
    Ok(table)
}

/// The uplinks as a script gets them where there is no module at hand.
pub(in crate::script) fn uplink_tables(lua: &Lua) -> mlua::Result<Value> {
    let module: Table = lua.named_registry_value(UPLINKS)?;
    let call: mlua::Function = module.raw_get("uplinks")?;
    call.call(())
}

/// Where the module is kept from scripts that change the global.
const UPLINKS: &str = "pingu.module";

/// Keeps the module as it is now, for [`uplink_tables`].
pub(in crate::script) fn keep(lua: &Lua) -> mlua::Result<()> {
    let module: Table = lua.globals().raw_get("pingu")?;
    let kept = lua.create_table()?;
    kept.raw_set("uplinks", module.raw_get::<Value>("uplinks")?)?;
    lua.set_named_registry_value(UPLINKS, kept)
}

/// The uplink that a value names: a name, or an uplink itself.
pub(in crate::script) fn named(value: &Value) -> Option<String> {
    match value {
        Value::String(name) => Some(name.to_string_lossy()),
        Value::Table(uplink) => uplink.raw_get::<Option<String>>(NAME).ok().flatten(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
