//! Random patterns and texts, held against the C library's functions.

use std::{path::Path, time::Duration};

use mlua::{Lua, MultiValue, Value};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::script::vm::{Vm, VmOptions};

/// Pieces that patterns are put together from: every kind of item, and what is malformed.
const PIECES: [&str; 30] = [
    "a", "b", ".", "%a", "%d", "%s", "%w", "%A", "[ab]", "[^a]", "[%d-z]", "[]]", "[a-c]", "(",
    ")", "()", "*", "+", "-", "?", "^", "$", "%b()", "%f[%w]", "%1", "%", "[", "%%", "%.", "]",
];

const TEXTS: [&str; 9] = [
    "",
    "a",
    "ab",
    "aab(ab)ba",
    "hello world 42",
    "((a)b)",
    "%d.]",
    "aXbX12",
    "a b  c",
];

const CALLS: [&str; 7] = [
    "local t, p = ... return string.find(t, p)",
    "local t, p = ... return string.find(t, p, -3)",
    "local t, p = ... return string.match(t, p, 2)",
    "local t, p = ... return string.gsub(t, p, '<%0>')",
    "local t, p = ... return string.gsub(t, p, function(a, b) return b or a ~= 'a' and a end, 3)",
    "local t, p = ... return string.gsub(t, p, { a = 'A', ab = 1 })",
    "local t, p = ... local all = {} for a, b in string.gmatch(t, p) do all[#all + 1] = tostring(a) .. tostring(b) end \
     return table.concat(all, ',')",
];

fn told(outcome: mlua::Result<MultiValue>) -> Result<String, ()> {
    let values = outcome.map_err(|_| ())?;
    let told: Vec<String> = values
        .into_iter()
        .map(|value| match value {
            Value::Integer(number) => (number as f64).to_string(),
            Value::Number(number) => number.to_string(),
            Value::String(text) => format!("{:?}", text.to_string_lossy()),
            other => format!("{other:?}"),
        })
        .collect();
    Ok(told.join(" "))
}

#[test]
fn patterns_match_what_the_library_s_own_match() {
    let options = VmOptions {
        sandbox: true,
        time_limit: Duration::from_secs(10),
        memory_limit: 8 << 20,
        print: None,
    };
    let (vm, plain) = (Vm::new(&options).unwrap(), Lua::new());
    let load = |lua: &Lua, call: &str| lua.load(call).into_function().unwrap();
    let ours: Vec<_> = CALLS.iter().map(|call| load(vm.lua(), call)).collect();
    let theirs: Vec<_> = CALLS.iter().map(|call| load(&plain, call)).collect();
    let mut random = SmallRng::seed_from_u64(5);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..6000 {
        let count = random.random_range(1..7);
        let pattern: String = (0..count)
            .map(|_| PIECES[random.random_range(0..PIECES.len())])
            .collect();
        let text = TEXTS[random.random_range(0..TEXTS.len())];
        let index = random.random_range(0..CALLS.len());
        let own = told(ours[index].call((text, pattern.as_str())));
        let expected = told(theirs[index].call((text, pattern.as_str())));
        assert_eq!(own, expected, "{text:?} {pattern:?} {}", CALLS[index]);
        if own.is_ok() {
            good += 1;
        } else {
            bad += 1;
        }
    }
    assert!(good > 1000 && bad > 500, "{good} good, {bad} bad");
    let missing = vm
        .load(Path::new("p.lua"), b"return ('x'):find('%z')")
        .unwrap();
    assert!(vm.call(|_| missing.call::<Value>(())).unwrap().is_nil());
}
