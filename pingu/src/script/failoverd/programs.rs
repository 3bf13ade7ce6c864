//! `os.execute` as failoverd has it: it returns the program's exit status. C's `system` would take SIGINT from the whole process meanwhile.

use std::{
    ffi::{OsStr, OsString},
    os::unix::{ffi::OsStrExt, process::ExitStatusExt},
    process::{self, Command},
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
};

use mlua::{Error, Lua, LuaString, Result, Table};

/// What a shell says of a program that a signal ended: this and the signal's number.
const ENDED_BY_SIGNAL: i32 = 128;

/// What a shell says of a program that it could not start.
const NOT_STARTED: i32 = 127;

/// Replaces `os.execute`, and gives `os.exit` back, which ends failoverd as well.
///
/// Programs are started by a thread of their own: they would inherit the script's low priority, and `ip route replace` shall not wait.
pub(super) fn define(lua: &Lua) -> Result<()> {
    let os: Table = lua.globals().get("os")?;
    let exit =
        |_: &Lua, status: Option<i32>| -> Result<()> { process::exit(status.unwrap_or_default()) };
    os.set("exit", lua.create_function(exit)?)?;
    // A script waits for its program: there is never more than one.
    let (lines, asked) = mpsc::sync_channel(0);
    let (answer, answers) = mpsc::sync_channel(1);
    let starter = thread::Builder::new().name("programs".to_owned());
    starter
        .spawn(move || run(&asked, &answer))
        .map_err(Error::external)?;
    let execute = move |_: &Lua, line: Option<LuaString>| {
        // Without a command it says whether there is a shell, as C's does.
        let Some(line) = line else { return Ok(1) };
        let line = OsStr::from_bytes(&line.as_bytes()).to_owned();
        let gone = |_| Error::runtime("nobody is left to start programs");
        lines.send(line).map_err(|_| gone(mpsc::RecvError))?;
        answers.recv().map_err(gone)
    };
    os.set("execute", lua.create_function(execute)?)
}

/// Until the script is gone.
fn run(lines: &Receiver<OsString>, answer: &SyncSender<i32>) {
    for line in lines {
        if answer.send(execute(&line)).is_err() {
            return;
        }
    }
}

fn execute(line: &OsStr) -> i32 {
    match Command::new("/bin/sh").arg("-c").arg(line).status() {
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
