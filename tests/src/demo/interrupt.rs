//! Ctrl-C ends the demonstration in order: everything that it made is removed.

use std::sync::atomic::{AtomicBool, Ordering};

static WANTED: AtomicBool = AtomicBool::new(false);

/// Takes SIGINT, SIGTERM and SIGHUP as a wish from here on.
pub(super) fn watch() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        unsafe { libc::signal(signal, note as extern "C" fn(i32) as libc::sighandler_t) };
    }
}

/// Whether the end is wished for.
pub(super) fn is_wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}

extern "C" fn note(_signal: i32) {
    WANTED.store(true, Ordering::Relaxed);
}
