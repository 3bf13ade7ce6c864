//! `string.find`, `match`, `gmatch` and `gsub`: C's own ones are interrupted by nobody, and recurse without a limit.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use mlua::{IntoLuaMulti, Lua, LuaString, MultiValue, Table, Value};

use super::{budget::Budget, raising};
use matcher::{Capture, End, Matcher};
use substitute::{gsub, gsub_by};

mod matcher;
mod substitute;

/// Without any of these a pattern is a plain text.
const SPECIAL: &[u8] = b"^$*+?.([%-";

/// Puts the functions into a table.
pub(super) fn install(lua: &Lua, budget: &Arc<Budget>, into: &Table) -> mlua::Result<()> {
    let longest: usize = into.raw_get("longest")?;
    type Call = fn(&Lua, MultiValue, &Arc<Budget>, usize) -> mlua::Result<MultiValue>;
    let functions: [(&str, Call); 5] = [
        ("find", |lua, values, budget, _| {
            find(lua, values, budget, true)
        }),
        ("match", |lua, values, budget, _| {
            find(lua, values, budget, false)
        }),
        ("gmatch", gmatch),
        ("gsub", gsub),
        ("gsub_by", gsub_by),
    ];
    for (name, call) in functions {
        let budget = Arc::clone(budget);
        let function = raising(lua, move |lua, values| call(lua, values, &budget, longest))?;
        into.raw_set(name, function)?;
    }
    Ok(())
}

/// The arguments of a call, one by one.
struct Arguments<'a> {
    lua: &'a Lua,
    function: &'static str,
    values: MultiValue,
    taken: usize,
}

impl<'a> Arguments<'a> {
    fn new(lua: &'a Lua, function: &'static str, values: MultiValue) -> Self {
        Self {
            lua,
            function,
            values,
            taken: 0,
        }
    }

    fn next(&mut self) -> Option<Value> {
        self.taken += 1;
        self.values.pop_front()
    }

    fn wrong(&self, wanted: &str, found: Option<&Value>) -> mlua::Error {
        mlua::Error::runtime(format!(
            "bad argument #{} to '{}' ({wanted} expected, got {})",
            self.taken,
            self.function,
            found.map_or("no value", Value::type_name)
        ))
    }

    fn string(&mut self) -> mlua::Result<LuaString> {
        let value = self.next();
        let text = match &value {
            Some(Value::String(text)) => Some(text.clone()),
            Some(value @ (Value::Integer(_) | Value::Number(_))) => {
                self.lua.coerce_string(value.clone())?
            }
            _ => None,
        };
        text.ok_or_else(|| self.wrong("string", value.as_ref()))
    }

    fn integer(&mut self) -> mlua::Result<Option<i64>> {
        let value = self.next();
        match &value {
            None | Some(Value::Nil) => Ok(None),
            Some(given) => match self.lua.coerce_number(given.clone())? {
                // As C does, but without going beyond what there is.
                Some(number) => Ok(Some(number as i64)),
                None => Err(self.wrong("number", value.as_ref())),
            },
        }
    }
}

/// What a capture caught, or the whole match where the pattern has none.
fn caught(lua: &Lua, text: &[u8], capture: Capture) -> mlua::Result<Value> {
    match capture.end {
        End::Open => Err(mlua::Error::runtime("unfinished capture")),
        End::Place => Ok(Value::Integer(capture.start as mlua::Integer + 1)),
        End::Before(end) => Ok(Value::String(lua.create_string(&text[capture.start..end])?)),
    }
}

fn all_caught(
    lua: &Lua,
    text: &[u8],
    captures: &[Capture],
    whole: Option<Capture>,
) -> mlua::Result<Vec<Value>> {
    let whole = whole.filter(|_| captures.is_empty());
    let captures = captures.iter().copied().chain(whole);
    captures.map(|capture| caught(lua, text, capture)).collect()
}

/// `string.find` or, without `places`, `string.match`.
fn find(lua: &Lua, values: MultiValue, budget: &Budget, places: bool) -> mlua::Result<MultiValue> {
    let mut arguments = Arguments::new(lua, if places { "find" } else { "match" }, values);
    let (text, pattern) = (arguments.string()?, arguments.string()?);
    let from = arguments.integer()?.unwrap_or(1);
    let plain = arguments
        .next()
        .is_some_and(|value| value.as_boolean() != Some(false) && !value.is_nil());
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    let length = text.len() as i64;
    let from = if from < 0 {
        length.saturating_add(from) + 1
    } else {
        from
    };
    let from = (from - 1).clamp(0, length) as usize;
    if places && (plain || !pattern.iter().any(|byte| SPECIAL.contains(byte))) {
        let found = find_plain(&text, &pattern, from, budget)?;
        let places = found.map(|start| (start + 1, start + pattern.len()));
        return match places {
            Some(places) => places.into_lua_multi(lua),
            None => Value::Nil.into_lua_multi(lua),
        };
    }
    let (anchored, pattern) = anchor(&pattern);
    let mut matcher = Matcher::new(&text, pattern, budget);
    for start in from..=text.len() {
        if let Some(end) = matcher.at(start)? {
            let whole = Capture::whole(start, end);
            let mut results = Vec::new();
            if places {
                results.push(Value::Integer(start as mlua::Integer + 1));
                results.push(Value::Integer(end as mlua::Integer));
            }
            let whole = (!places).then_some(whole);
            results.extend(all_caught(lua, &text, &matcher.captures, whole)?);
            return Ok(MultiValue::from_vec(results));
        }
        if anchored {
            break;
        }
    }
    Value::Nil.into_lua_multi(lua)
}

fn anchor(pattern: &[u8]) -> (bool, &[u8]) {
    match pattern.split_first() {
        Some((b'^', rest)) => (true, rest),
        _ => (false, pattern),
    }
}

/// A plain text in another.
fn find_plain(
    text: &[u8],
    wanted: &[u8],
    from: usize,
    budget: &Budget,
) -> mlua::Result<Option<usize>> {
    /// Bytes that are compared between two looks at the clock.
    const COMPARED_MAX: usize = 1 << 22;

    let Some(last) = text.len().checked_sub(wanted.len()) else {
        return Ok(None);
    };
    let mut compared = 0;
    for start in from..=last {
        let alike = text[start..]
            .iter()
            .zip(wanted)
            .take_while(|(a, b)| a == b)
            .count();
        if alike == wanted.len() {
            return Ok(Some(start));
        }
        compared += alike + 1;
        if compared > COMPARED_MAX {
            compared = 0;
            budget.check()?;
        }
    }
    Ok(None)
}

/// `string.gmatch`.
fn gmatch(
    lua: &Lua,
    values: MultiValue,
    budget: &Arc<Budget>,
    _: usize,
) -> mlua::Result<MultiValue> {
    let mut arguments = Arguments::new(lua, "gmatch", values);
    let (text, pattern) = (arguments.string()?, arguments.string()?);
    let budget = Arc::clone(budget);
    let next = AtomicUsize::new(0);
    let each = raising(lua, move |lua, _| {
        let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
        let mut matcher = Matcher::new(&text, &pattern, &budget);
        for start in next.load(Ordering::Relaxed)..=text.len() {
            if let Some(end) = matcher.at(start)? {
                let behind = if end == start { end + 1 } else { end };
                next.store(behind, Ordering::Relaxed);
                let all = all_caught(
                    lua,
                    &text,
                    &matcher.captures,
                    Some(Capture::whole(start, end)),
                )?;
                return Ok(MultiValue::from_vec(all));
            }
        }
        next.store(text.len() + 1, Ordering::Relaxed);
        Value::Nil.into_lua_multi(lua)
    })?;
    each.into_lua_multi(lua)
}

#[cfg(test)]
mod tests;
