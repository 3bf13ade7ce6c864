//! What every machine's library is changed in: no budget can be swallowed, no byte code is loaded, nothing runs unwatched.

use std::sync::Arc;

use mlua::{Lua, Variadic};

use super::{VmOptions, budget::Budget, pattern, raising};

/// The first byte of compiled chunks. They are not checked by anybody, and can do anything.
pub(super) const BYTE_CODE: u8 = 0x1b;

/// Written in Lua, so that coroutines and levels of errors stay what they are.
const GUARD: &str = include_str!("guard.lua");

/// Changes the library.
pub(super) fn install(lua: &Lua, budget: &Arc<Budget>, options: &VmOptions) -> mlua::Result<()> {
    raising::install(lua)?;
    let own = lua.create_table()?;
    let asked = Arc::clone(budget);
    own.raw_set(
        "over",
        lua.create_function(move |_, ()| Ok(asked.is_over()))?,
    )?;
    let raised = Arc::clone(budget);
    own.raw_set(
        "raise",
        lua.create_function(move |_, ()| Err::<(), _>(raised.error()))?,
    )?;
    own.raw_set("longest", options.memory_limit)?;
    own.raw_set("sandbox", options.sandbox)?;
    own.raw_set("traceback", lua.create_function(traceback)?)?;
    pattern::install(lua, budget, &own)?;
    if let Some(print) = options.print.clone() {
        let print = lua.create_function(move |_, text: mlua::LuaString| {
            print(&text.to_string_lossy());
            Ok(())
        })?;
        own.raw_set("print", print)?;
    }
    lua.load(GUARD).set_name("=pingu").call::<()>(own)
}

/// `debug.traceback`, but of other coroutines.
fn traceback(lua: &Lua, values: Variadic<mlua::Value>) -> mlua::Result<mlua::Value> {
    let mut values = values.into_iter().filter(|value| !value.is_thread());
    let message = values.next().unwrap_or(mlua::Value::Nil);
    let level = match values.next() {
        Some(mlua::Value::Number(level)) if level >= 0.0 => level as usize,
        Some(mlua::Value::Integer(level)) => usize::try_from(level).unwrap_or(1),
        _ => 1,
    };
    match message {
        mlua::Value::Nil => Ok(mlua::Value::String(lua.traceback(None, level)?)),
        mlua::Value::String(text) => {
            let text = text.to_string_lossy();
            Ok(mlua::Value::String(lua.traceback(Some(&text), level)?))
        }
        other => Ok(other),
    }
}
