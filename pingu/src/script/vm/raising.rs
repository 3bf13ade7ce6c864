//! Functions for scripts whose errors are what Lua's own functions raise: texts that begin with the place of the call.

use mlua::{Function, Lua, MultiValue, Value};

use super::budget::OverTime;

/// Where the wrapper below is kept.
const WRAPPER: &str = "pingu.raising";

/// The outer function is gone when `give` runs, but still counts as a level.
const SOURCE: &str = r#"
local error = error
local function give(good, ...)
  if good then
    return ...
  end
  error((...), 3)
end
return function(call)
  return function(...)
    return give(call(...))
  end
end
"#;

pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    let wrapper: Function = lua.load(SOURCE).set_name("=pingu").eval()?;
    lua.set_named_registry_value(WRAPPER, wrapper)
}

/// A function for scripts. What it returns as an error is raised as a text, with the place of the call; only the end of a budget stays
/// what it is.
///
/// # Errors
/// When there is no memory for it.
pub fn raising(
    lua: &Lua,
    call: impl Fn(&Lua, MultiValue) -> mlua::Result<MultiValue> + Send + 'static,
) -> mlua::Result<Function> {
    let inner = lua.create_function(move |lua, values| match call(lua, values) {
        Ok(mut values) => {
            values.push_front(Value::Boolean(true));
            Ok(values)
        }
        Err(error) if error.downcast_ref::<OverTime>().is_some() => Err(error),
        Err(mlua::Error::RuntimeError(message) | mlua::Error::MemoryError(message)) => {
            refusal(lua, &message)
        }
        Err(error) => refusal(lua, &error.to_string()),
    })?;
    let wrapper: Function = lua.named_registry_value(WRAPPER)?;
    wrapper.call(inner)
}

fn refusal(lua: &Lua, message: &str) -> mlua::Result<MultiValue> {
    let message = lua.create_string(message)?;
    Ok(MultiValue::from_vec(vec![
        Value::Boolean(false),
        Value::String(message),
    ]))
}
