//! What a sandboxed script has left: an allow list, so that a library that grows opens nothing.

use mlua::{Lua, Table, Value};

/// Functions and values that reach nothing outside the machine, by their names in Lua.
pub(super) const ALLOWED: [(&str, &[&str]); 7] = [
    (
        "",
        &[
            "_G",
            "_VERSION",
            "assert",
            "collectgarbage",
            "error",
            "gcinfo",
            "getfenv",
            "getmetatable",
            "ipairs",
            "load",
            "loadstring",
            "next",
            "pairs",
            "pcall",
            "print",
            "rawequal",
            "rawget",
            "rawset",
            "select",
            "setfenv",
            "setmetatable",
            "tonumber",
            "tostring",
            "type",
            "unpack",
            "xpcall",
        ],
    ),
    (
        "coroutine",
        &["create", "resume", "running", "status", "wrap", "yield"],
    ),
    ("debug", &["traceback"]),
    (
        "math",
        &[
            "abs",
            "acos",
            "asin",
            "atan",
            "atan2",
            "ceil",
            "cos",
            "cosh",
            "deg",
            "exp",
            "floor",
            "fmod",
            "frexp",
            "huge",
            "ldexp",
            "log",
            "log10",
            "max",
            "min",
            "mod",
            "modf",
            "pi",
            "pow",
            "rad",
            "random",
            "randomseed",
            "sin",
            "sinh",
            "sqrt",
            "tan",
            "tanh",
        ],
    ),
    ("os", &["clock", "date", "difftime", "time"]),
    (
        "string",
        &[
            "byte", "char", "find", "format", "gfind", "gmatch", "gsub", "len", "lower", "match",
            "rep", "reverse", "sub", "upper",
        ],
    ),
    (
        "table",
        &[
            "concat", "foreach", "foreachi", "getn", "insert", "maxn", "remove", "setn", "sort",
        ],
    ),
];

/// Takes away everything else.
pub(super) fn close(lua: &Lua) -> mlua::Result<()> {
    let globals = lua.globals();
    for (library, names) in ALLOWED {
        if !library.is_empty() {
            let table: Table = globals.raw_get(library)?;
            keep(&table, |name| names.contains(&name))?;
        }
    }
    let [(_, functions), libraries @ ..] = ALLOWED;
    keep(&globals, |name| {
        functions.contains(&name) || libraries.iter().any(|(library, _)| *library == name)
    })
}

fn keep(table: &Table, is_kept: impl Fn(&str) -> bool) -> mlua::Result<()> {
    let names: Vec<Value> = table
        .pairs::<Value, Value>()
        .map(|pair| pair.map(|(name, _)| name))
        .collect::<mlua::Result<_>>()?;
    for name in names {
        let kept = name.as_string().and_then(|name| name.to_str().ok());
        if !kept.is_some_and(|name| is_kept(&name)) {
            table.raw_set(name, Value::Nil)?;
        }
    }
    Ok(())
}
