//! `string.gsub`.

use std::sync::{Arc, Mutex};

use mlua::{IntoLuaMulti, Lua, MultiValue, Value};

use super::{
    Arguments, all_caught, anchor, caught,
    matcher::{Capture, End, Matcher},
};
use crate::script::vm::{budget::Budget, raising};

/// `string.gsub` with a template.
pub(super) fn gsub(
    lua: &Lua,
    values: MultiValue,
    budget: &Arc<Budget>,
    longest: usize,
) -> mlua::Result<MultiValue> {
    let mut arguments = Arguments::new(lua, "gsub", values);
    let (text, pattern, template) = (
        arguments.string()?,
        arguments.string()?,
        arguments.string()?,
    );
    let mut work = Substitution::new(arguments.integer()?, longest);
    let (text, pattern, template) = (text.as_bytes(), pattern.as_bytes(), template.as_bytes());
    let (anchored, pattern) = anchor(&pattern);
    let mut matcher = Matcher::new(&text, pattern, budget);
    while let Some(whole) = work.next(&mut matcher, anchored)? {
        fill(lua, &matcher, whole, &template, &mut work.made)?;
    }
    work.finish(lua, &text)
}

/// `string.gsub` with a function or a table, which is asked in Lua: a function that takes what replaces the last match, and returns what
/// the next one caught, or nothing, the text made and the number of matches.
pub(super) fn gsub_by(
    lua: &Lua,
    values: MultiValue,
    budget: &Arc<Budget>,
    longest: usize,
) -> mlua::Result<MultiValue> {
    let mut arguments = Arguments::new(lua, "gsub", values);
    let (text, pattern) = (arguments.string()?, arguments.string()?);
    let work = Mutex::new(Substitution::new(arguments.integer()?, longest));
    let budget = Arc::clone(budget);
    let advance = raising(lua, move |lua, mut values| {
        let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
        let mut work = work.lock().expect("nobody panics while holding it");
        match (values.pop_front().unwrap_or(Value::Nil), work.last.take()) {
            (_, None) => {}
            (Value::Nil, Some(Capture { start, end })) => {
                if let End::Before(end) = end {
                    work.made.extend_from_slice(&text[start..end]);
                }
            }
            (value, Some(_)) => add(lua, value, &mut work.made)?,
        }
        let (anchored, pattern) = anchor(&pattern);
        let mut matcher = Matcher::new(&text, pattern, &budget);
        match work.next(&mut matcher, anchored)? {
            Some(whole) => {
                work.last = Some(whole);
                let all = all_caught(lua, &text, &matcher.captures, Some(whole))?;
                Ok(MultiValue::from_vec(all))
            }
            None => {
                let mut made = work.finish(lua, &text)?;
                made.push_front(Value::Nil);
                Ok(made)
            }
        }
    })?;
    advance.into_lua_multi(lua)
}

/// A text in which matches are replaced.
struct Substitution {
    /// What was made so far.
    made: Vec<u8>,
    longest: usize,
    place: usize,
    count: i64,
    times: Option<i64>,
    /// Nothing follows the last match.
    is_done: bool,
    /// The byte at the place goes before whatever follows: the last match was empty, or there was none.
    owes: bool,
    /// The match that waits for what replaces it.
    last: Option<Capture>,
}

impl Substitution {
    fn new(times: Option<i64>, longest: usize) -> Self {
        Self {
            made: Vec::new(),
            longest,
            place: 0,
            count: 0,
            times,
            is_done: false,
            owes: false,
            last: None,
        }
    }

    /// The next match; everything before it has been copied.
    fn next(&mut self, matcher: &mut Matcher<'_>, anchored: bool) -> mlua::Result<Option<Capture>> {
        while !self.is_done && self.times.is_none_or(|times| self.count < times) {
            // What is being made is not in the machine's memory yet.
            if self.made.len() > self.longest {
                return Err(mlua::Error::MemoryError("not enough memory".to_owned()));
            }
            // An empty match stays before the byte that it did not take.
            if std::mem::take(&mut self.owes) {
                self.made.push(matcher.text[self.place]);
                self.place += 1;
            }
            let start = self.place;
            let found = matcher.at(start)?;
            let end = found.unwrap_or(start);
            self.is_done = anchored || (end == start && start >= matcher.text.len());
            self.owes = end == start;
            self.place = end;
            if found.is_some() {
                self.count += 1;
                return Ok(Some(Capture::whole(start, end)));
            }
        }
        Ok(None)
    }

    fn finish(&mut self, lua: &Lua, text: &[u8]) -> mlua::Result<MultiValue> {
        self.made.extend_from_slice(&text[self.place..]);
        if self.made.len() > self.longest {
            return Err(mlua::Error::MemoryError("not enough memory".to_owned()));
        }
        (lua.create_string(&self.made)?, self.count).into_lua_multi(lua)
    }
}

fn add(lua: &Lua, value: Value, made: &mut Vec<u8>) -> mlua::Result<()> {
    let text = lua.coerce_string(value)?;
    let text = text.ok_or_else(|| mlua::Error::runtime("invalid replacement value"))?;
    made.extend_from_slice(&text.as_bytes());
    Ok(())
}

/// A template, in which `%1` stands for a capture and `%0` for the match.
fn fill(
    lua: &Lua,
    matcher: &Matcher<'_>,
    whole: Capture,
    template: &[u8],
    made: &mut Vec<u8>,
) -> mlua::Result<()> {
    let mut bytes = template.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            made.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'0') => add(lua, caught(lua, matcher.text, whole)?, made)?,
            Some(digit) if digit.is_ascii_digit() => {
                let level = usize::from(digit - b'1');
                let capture = matcher.captures.get(level).copied();
                let capture =
                    capture.or((level == 0 && matcher.captures.is_empty()).then_some(whole));
                let capture =
                    capture.ok_or_else(|| mlua::Error::runtime("invalid capture index"))?;
                add(lua, caught(lua, matcher.text, capture)?, made)?;
            }
            Some(other) => made.push(other),
            None => made.push(0),
        }
    }
    Ok(())
}
