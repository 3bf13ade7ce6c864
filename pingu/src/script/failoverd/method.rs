//! Methods of what scripts are given: a mistake in calling one is a text with the place of the call, as with Lua's own functions.

use mlua::{
    Error, FromLuaMulti, IntoLua, IntoLuaMulti, Lua, MultiValue, Result, UserData, UserDataFields,
    Value,
};

use super::api;

type Call<T, A, R> = fn(&Lua, &T, A) -> Result<R>;

/// Adds a method by how it is called, such as `gps:lowest_loss()`.
pub(super) fn method<T, F, A, R>(fields: &mut F, usage: &'static str, call: Call<T, A, R>)
where
    T: UserData + 'static,
    F: UserDataFields<T>,
    A: FromLuaMulti + 'static,
    R: IntoLuaMulti + 'static,
{
    let (_, rest) = usage.split_once(':').expect("a method follows a colon");
    let name = rest.split('(').next().unwrap_or(rest);
    fields.add_field(name, Method { usage, call });
}

struct Method<T, A, R> {
    usage: &'static str,
    call: Call<T, A, R>,
}

impl<T, A, R> IntoLua for Method<T, A, R>
where
    T: UserData + 'static,
    A: FromLuaMulti + 'static,
    R: IntoLuaMulti + 'static,
{
    fn into_lua(self, lua: &Lua) -> Result<Value> {
        let Self { usage, call } = self;
        let function = api::function(lua, move |lua, mut values: MultiValue| {
            let receiver = values.pop_front();
            let receiver = receiver.as_ref().and_then(Value::as_userdata);
            let receiver = receiver.and_then(|data| data.borrow::<T>().ok());
            let receiver = receiver.ok_or_else(|| {
                Error::runtime(format!("methods are called with a colon: {usage}"))
            })?;
            call(lua, &receiver, A::from_lua_multi(values, lua)?)
        })?;
        Ok(Value::Function(function))
    }
}
