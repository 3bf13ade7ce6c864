//! The thread that a machine runs on: of a low priority, so that no script slows probing.

use std::{io, thread};

/// C functions of the library call back into Lua up to two hundred levels deep, some with buffers of eight kilobytes each. Only what
/// is touched is taken.
const STACK_BYTES: usize = 16 << 20;

/// How much a thread gives way to others, as nice(2) has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Niceness {
    /// It gets what others leave: somebody else decides where it comes too late.
    Nicest,
    /// It gives way to probing. But it decides alone, and a machine that is busy with other things must not starve it.
    Nice,
}

impl Niceness {
    fn number(self) -> libc::c_int {
        match self {
            Self::Nicest => 19,
            Self::Nice => 5,
        }
    }
}

/// Starts a thread that runs one machine, of the lowest priority.
///
/// # Errors
/// When there is no room for another thread.
pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    spawn_as(name, Niceness::Nicest, run)
}

/// Starts a thread that runs one machine.
///
/// # Errors
/// When there is no room for another thread.
pub fn spawn_as(
    name: &str,
    niceness: Niceness,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let builder = thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES);
    builder.spawn(move || {
        give_way(niceness);
        run();
    })?;
    Ok(())
}

/// Lowers the priority of the calling thread, and of the programs that it starts.
fn give_way(niceness: Niceness) {
    // SAFETY: changes a number of the calling thread, which `who` 0 means on Linux.
    let outcome = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness.number()) };
    if outcome != 0 {
        let error = io::Error::last_os_error();
        tracing::debug!(%error, "the script's thread keeps its priority");
    }
}
