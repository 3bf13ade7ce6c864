//! The thread that a machine runs on: of the lowest priority, so that no script slows probing.

use std::{io, thread};

/// C functions of the library call back into Lua up to two hundred levels deep, some with buffers of eight kilobytes each. Only what
/// is touched is taken.
const STACK_BYTES: usize = 16 << 20;

/// The niceness of a thread that gets what others leave.
const NICEST: libc::c_int = 19;

/// Starts a thread that runs one machine.
///
/// # Errors
/// When there is no room for another thread.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES);
    builder.spawn(move || {
        yield_to_others();
        run();
    })?;
    Ok(())
}

/// Gives the calling thread, and the programs that it starts, the lowest priority.
pub fn yield_to_others() {
    // SAFETY: changes a number of the calling thread, which `who` 0 means on Linux.
    let outcome = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICEST) };
    if outcome != 0 {
        let error = io::Error::last_os_error();
        tracing::debug!(%error, "the script's thread keeps its priority");
    }
}
