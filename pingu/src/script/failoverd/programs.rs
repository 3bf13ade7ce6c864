//! `os.execute` as failoverd has it: it returns the program's exit status. C's `system` would take SIGINT from the whole process meanwhile.

use std::{
    ffi::OsStr,
    os::unix::{ffi::OsStrExt, process::ExitStatusExt},
    process::Command,
};

use mlua::{Lua, Result, Table};

/// What a shell says of a program that a signal ended: this and the signal's number.
const ENDED_BY_SIGNAL: i32 = 128;

/// What a shell says of a program that it could not start.
const NOT_STARTED: i32 = 127;

/// Replaces `os.execute`.
pub(super) fn define(lua: &Lua) -> Result<()> {
    let os: Table = lua.globals().get("os")?;
    os.set("execute", lua.create_function(|_, line| Ok(execute(line)))?)
}

/// Without a command it says whether there is a shell, as C's does.
fn execute(line: Option<mlua::LuaString>) -> i32 {
    let Some(line) = line else { return 1 };
    let line = line.as_bytes();
    let mut shell = Command::new("/bin/sh");
    match shell.arg("-c").arg(OsStr::from_bytes(&line)).status() {
        Ok(status) => {
            let by_signal = || ENDED_BY_SIGNAL + status.signal().unwrap_or_default();
            status.code().unwrap_or_else(by_signal)
        }
        Err(error) => {
            tracing::warn!(%error, "os.execute cannot start /bin/sh");
            NOT_STARTED
        }
    }
}
