//! The script that advises the daemon: `script` and `sandbox`.

use std::{fs, path::Path, time::Duration};

use pingu::config::{Config, ScriptConfig};

const UPLINK: &str =
    "[probe]\ntargets = [\"192.0.2.1\"]\n[[uplink]]\nname = \"a\"\ninterface = \"wan0\"\n";

/// A directory with scripts, and what a configuration in it that begins with a text comes to.
fn read(directory: &Path, top: &str) -> Result<Option<ScriptConfig>, Vec<String>> {
    fs::write(directory.join("policy.lua"), "function rank(uplinks) end\n")
        .expect("it can be written and read");
    fs::write(directory.join("broken.lua"), "function rank(\n")
        .expect("it can be written and read");
    fs::write(directory.join("code.lua"), b"\x1bLuaQ").expect("it can be written and read");
    let file = directory.join("pingu.toml");
    let text = format!("{top}\n{UPLINK}");
    match Config::parse(&text, &file.display().to_string()) {
        Ok((config, warnings)) => {
            assert!(warnings.is_empty(), "{warnings:?}");
            let (again, _) = Config::parse(&config.to_toml(), "elsewhere/f")
                .expect("it can be written and read");
            assert_eq!(again, config, "it reads back to the same");
            Ok(config.script)
        }
        Err(problems) => {
            let prefix = format!("{}/", directory.display());
            Err(problems
                .list
                .iter()
                .map(|problem| problem.to_string().replace(&prefix, ""))
                .collect())
        }
    }
}

#[test]
fn a_script_is_given_by_its_path_or_with_its_limits() {
    let directory = tempfile::tempdir().unwrap();
    let of = |top: &str| read(directory.path(), top);
    let default = ScriptConfig {
        file: directory.path().join("policy.lua"),
        sandbox: true,
        time_limit: Duration::from_millis(100),
        memory_bytes: 16 << 20,
    };
    let open = ScriptConfig {
        sandbox: false,
        ..default.clone()
    };
    assert_eq!(of(""), Ok(None));
    assert_eq!(of("script = \"policy.lua\""), Ok(Some(default.clone())));
    let absolute = format!("script = \"{}\"", default.file.display());
    assert_eq!(of(&absolute), Ok(Some(default.clone())));
    assert_eq!(
        of("script = \"policy.lua\"\nsandbox = true"),
        Ok(Some(default.clone()))
    );
    assert_eq!(
        of("sandbox = false\nscript = \"policy.lua\""),
        Ok(Some(open.clone()))
    );
    assert_eq!(
        of("[script]\nfile = \"policy.lua\"\nsandbox = false"),
        Ok(Some(open.clone()))
    );
    assert_eq!(
        of("sandbox = false\nscript = { file = \"policy.lua\" }"),
        Ok(Some(open))
    );
    assert_eq!(
        of("script = { file = \"policy.lua\", time_limit = \"20ms\", memory_limit = \"2MiB\" }"),
        Ok(Some(ScriptConfig {
            time_limit: Duration::from_millis(20),
            memory_bytes: 2 << 20,
            ..default
        }))
    );
}

#[test]
fn what_is_wrong_with_a_script_is_said_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    for (top, expected) in [
        (
            "script = \"none.lua\"",
            "pingu.toml:1:10: error: `script`: none.lua cannot be read: No such file or directory (os error 2)",
        ),
        (
            "script = \"broken.lua\"",
            "pingu.toml:1:10: error: `script`: broken.lua:2: <name> or '...' expected near '<eof>'",
        ),
        (
            "script = \"code.lua\"",
            "pingu.toml:1:10: error: `script`: code.lua: this is byte code, not a script",
        ),
        (
            "script = 7",
            "pingu.toml:1:10: error: `script` must be the path of a Lua file, or a table with it as `file`, not 7",
        ),
        (
            "sandbox = true",
            "pingu.toml:1:11: error: `sandbox` without a `script` means nothing",
        ),
        (
            "sandbox = true\nscript = { file = \"policy.lua\", sandbox = true }",
            "pingu.toml:2:43: error: `sandbox` is given twice: beside `script` and in it",
        ),
        (
            "script = { file = \"policy.lua\", memory_limit = \"1kB\" }",
            "pingu.toml:1:48: error: `script.memory_limit` must be bytes with their unit, such as \"16MiB\", from 1MiB \
             to 1GiB, not \"1kB\"",
        ),
        (
            "script = { file = \"policy.lua\", limit = \"1s\" }",
            "pingu.toml:1:33: error: unknown key `script.limit`; allowed here: file, memory_limit, sandbox, time_limit",
        ),
        (
            "script = { sandbox = true }",
            "pingu.toml:1:10: error: `script.file` is needed: the path of a Lua file",
        ),
    ] {
        let found = read(directory.path(), top);
        assert_eq!(found, Err(vec![expected.to_owned()]), "{top}");
    }
}
