//! Scripts that abuse their machine end within their budget, and others notice nothing.
use std::{collections::BTreeSet, sync::mpsc};

use mlua::{Table, Value};

use super::*;

mod corpus;

use corpus::{MEMORY, OTHER, TIME};

/// What a call is given here.
const LIMIT: Duration = Duration::from_millis(50);

/// In which it must have ended: unoptimised builds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn options(sandbox: bool) -> VmOptions {
    VmOptions {
        sandbox,
        time_limit: LIMIT,
        memory_limit: 8 << 20,
        print: None,
    }
}

fn vm(sandbox: bool) -> Vm {
    Vm::new(&options(sandbox)).unwrap()
}

fn run<R: mlua::FromLuaMulti>(vm: &Vm, text: &str) -> Result<R, ScriptError> {
    let script = vm.load(Path::new("policy.lua"), text.as_bytes())?;
    vm.call(|_| script.call(()))
}

/// Runs a script on a thread as the daemon's, and says how it ended, what it took of the processor, and whether the machine still works.
fn abuse(
    sandbox: bool,
    text: &'static str,
) -> (
    Result<String, ScriptError>,
    Duration,
    Result<i64, ScriptError>,
) {
    let (sender, receiver) = mpsc::channel();
    thread::spawn("abused", move || {
        let vm = vm(sandbox);
        let begin_ns = budget::used_by_this_thread();
        let outcome = run::<Value>(&vm, text).map(|value| format!("{value:?}"));
        let took = Duration::from_nanos(budget::used_by_this_thread() - begin_ns);
        let after = run(&vm, "return 6 * 7");
        let _ = sender.send((outcome, took, after));
    })
    .unwrap();
    receiver
        .recv_timeout(PATIENCE)
        .unwrap_or_else(|_| panic!("it never ended: {text}"))
}

#[test]
fn whatever_takes_time_for_ever_ends_when_its_time_is_up() {
    for sandbox in [true, false] {
        for text in TIME {
            let (outcome, took, after) = abuse(sandbox, text);
            let error = outcome.expect_err(text);
            assert_eq!(error.fault, Fault::OverTime, "{text}: {error}");
            assert!(took < LIMIT * 40, "{text} took {took:?}");
            assert_eq!(after, Ok(42), "after {text}");
        }
    }
}

#[test]
fn whatever_takes_memory_without_end_ends_when_its_memory_is_used_up() {
    for sandbox in [true, false] {
        for text in MEMORY {
            let (outcome, took, after) = abuse(sandbox, text);
            let error = outcome.expect_err(text);
            assert!(
                matches!(error.fault, Fault::OverMemory | Fault::OverTime)
                    || error.to_string().contains("not enough memory"),
                "{text}: {error}"
            );
            assert!(took < LIMIT * 40, "{text} took {took:?}");
            assert_eq!(after, Ok(42), "after {text}");
        }
    }
}

#[test]
fn whatever_else_goes_too_far_is_an_error_and_no_more() {
    for sandbox in [true, false] {
        for text in OTHER {
            let (outcome, took, after) = abuse(sandbox, text);
            if let Err(error) = &outcome {
                assert!(error.to_string().len() < 5000, "{text}");
                assert!(!error.to_string().contains('\u{1b}'), "{text}");
            }
            assert!(took < LIMIT * 40, "{text} took {took:?}: {outcome:?}");
            assert_eq!(after, Ok(42), "after {text}");
        }
    }
}

#[test]
fn an_error_tells_its_file_its_line_and_its_way() {
    let vm = vm(true);
    let error = run::<()>(
        &vm,
        "local function inner()\n  error('wrong')\nend\ninner()",
    )
    .unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("policy.lua:2: wrong"), "{text}");
    assert!(text.contains("policy.lua:4"), "{text}");
    let error = run::<()>(&vm, "local x = = 1").unwrap_err();
    assert_eq!(error.fault, Fault::Syntax);
    assert!(error.summary().starts_with("policy.lua:1:"), "{error}");
    let error = run::<()>(&vm, "\nstring.find('a', '(')").unwrap_err();
    assert!(
        error
            .summary()
            .starts_with("policy.lua:2: unfinished capture"),
        "{error}"
    );
    let error = run::<()>(&vm, "\n\nwhile true do end").unwrap_err();
    assert!(error.summary().contains("policy.lua:3"), "{error}");
}

#[test]
fn scripts_see_lua_5_1() {
    let vm = vm(false);
    for (text, expected) in [
        ("return tostring(10 / 2)", "5"),
        ("return unpack({'a'})", "a"),
        ("return tostring(table.getn({1, 2}))", "2"),
        ("return type(setfenv)", "function"),
        ("return type(string.gfind)", "function"),
        ("return _VERSION", "Lua 5.1"),
        (
            "local ok, e = pcall(error, {code = 7}) return tostring(e.code)",
            "7",
        ),
        (
            "local ok, e = pcall(string.find, 'a', '(') return type(e)",
            "string",
        ),
        (
            "local ok, e = pcall(('x').gsub, 'x', 'x', function() error({code = 8}) end) return tostring(e.code)",
            "8",
        ),
        (
            "local _, trace = xpcall(error, debug.traceback) return type(trace)",
            "string",
        ),
        (
            "local _, e = xpcall(function() error('x', 0) end, function(e) return e .. '!' end) return e",
            "x!",
        ),
        (
            "local a, b = load(function() error('no', 0) end) return b",
            "no",
        ),
        (
            "local n = 0 local f = load(function() n = n + 1 return ({'return ', '\"y\"'})[n] end) return f()",
            "y",
        ),
        (
            "return table.concat({('hello world'):gsub('o', '0')}, ' ')",
            "hell0 w0rld 2",
        ),
        ("return (('a'):rep(3, ','))", "aaa"),
    ] {
        assert_eq!(
            run::<Option<String>>(&vm, text)
                .unwrap()
                .as_deref()
                .unwrap_or("nil"),
            expected,
            "{text}"
        );
    }
}

#[test]
fn byte_code_is_loaded_by_no_way() {
    let plain = Lua::new();
    let code = plain.load("return 1").into_function().unwrap().dump(true);
    for sandbox in [true, false] {
        let vm = vm(sandbox);
        let error = vm.load(Path::new("p.lua"), &code).unwrap_err();
        assert_eq!(error.fault, Fault::Syntax);
        vm.lua()
            .globals()
            .raw_set("code", vm.lua().create_string(&code).unwrap())
            .unwrap();
        for text in [
            "return loadstring(code)",
            "return load(function() local c = code code = nil return c end)",
            "local n = 0 return load(function() n = n + 1 if n <= #code then return code:sub(n, n) end end)",
        ] {
            let (made, why): (Value, Option<String>) = run(&vm, text).unwrap();
            assert!(made.is_nil(), "{text}");
            assert_eq!(why.as_deref(), Some("byte code is not loaded"), "{text}");
            vm.lua()
                .globals()
                .raw_set("code", vm.lua().create_string(&code).unwrap())
                .unwrap();
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("code.luac");
    std::fs::write(&file, &code).unwrap();
    let vm = vm(false);
    let text = format!("return loadfile('{}')", file.display());
    let (made, why): (Value, Option<String>) = run(&vm, &text).unwrap();
    assert!(made.is_nil() && why.is_some());
}

#[test]
fn everything_within_reach_of_a_sandboxed_script_is_on_the_list() {
    let vm = vm(true);
    let mut allowed: BTreeSet<String> = BTreeSet::new();
    for (library, names) in sandbox::ALLOWED {
        allowed.extend(names.iter().map(|name| match library {
            "" => (*name).to_owned(),
            _ => format!("{library}.{name}"),
        }));
        allowed.insert(library.to_owned());
    }
    let mut seen = Vec::new();
    let mut found = BTreeSet::new();
    let globals = vm.lua().globals();
    walk("", &globals, &mut seen, &mut found);
    let metatable: Value = run(&vm, "return getmetatable('')").unwrap();
    assert_eq!(
        metatable
            .as_string()
            .map(|text| text.to_string_lossy())
            .as_deref(),
        Some("protected")
    );
    let strange: Vec<_> = found.difference(&allowed).collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert!(found.contains("string.find") && found.contains("os.time") && found.contains("pcall"));
    for name in [
        "io", "require", "module", "package", "dofile", "loadfile", "newproxy",
    ] {
        let is_nil: bool = run(&vm, &format!("return {name} == nil")).unwrap();
        assert!(is_nil, "{name}");
    }
    for name in [
        "os.execute",
        "os.getenv",
        "os.remove",
        "os.exit",
        "string.dump",
        "debug.sethook",
        "debug.getregistry",
    ] {
        let is_nil: bool = run(&vm, &format!("return {name} == nil")).unwrap();
        assert!(is_nil, "{name}");
    }
}

/// Collects the names of everything in a table and below it, metatables and environments of functions included.
fn walk(
    path: &str,
    table: &Table,
    seen: &mut Vec<*const std::ffi::c_void>,
    found: &mut BTreeSet<String>,
) {
    if seen.contains(&table.to_pointer()) {
        return;
    }
    seen.push(table.to_pointer());
    assert!(table.metatable().is_none(), "{path} has a metatable");
    for pair in table.pairs::<Value, Value>() {
        let (name, value) = pair.unwrap();
        let name = name.as_string().expect("names are texts").to_string_lossy();
        let full = if path.is_empty() {
            name
        } else {
            format!("{path}.{name}")
        };
        match &value {
            Value::Table(inner) => walk(&full, inner, seen, found),
            Value::Function(function) => {
                if let Some(inner) = function.environment() {
                    walk(&full, &inner, seen, found);
                }
            }
            Value::UserData(_) | Value::LightUserData(_) | Value::Thread(_) => {
                panic!("{full} is {value:?}")
            }
            _ => {}
        }
        found.insert(full);
    }
}

#[test]
fn what_waits_uses_no_time() {
    let vm = vm(false);
    assert_eq!(run(&vm, "os.execute('sleep 0.3') return 1"), Ok(1));
}

#[test]
fn somebody_else_sees_that_a_call_exceeds_its_time() {
    let vm = vm(true);
    let budget = Arc::clone(vm.budget());
    assert_eq!(budget.exceeded_by(), None);
    let seen = vm.call_within(Duration::ZERO, |_| {
        let other = Arc::clone(&budget);
        let seen = std::thread::spawn(move || other.exceeded_by())
            .join()
            .unwrap();
        Ok(seen)
    });
    assert!(seen.unwrap().is_some());
    assert_eq!(budget.exceeded_by(), None);
}
