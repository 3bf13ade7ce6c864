//! Whose turn it is: tests of one binary run side by side, but one that measures time wants the machine for itself.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static MACHINE: RwLock<()> = RwLock::new(());

/// Keeps measuring tests away while it lives.
pub struct Shared {
    _guard: RwLockReadGuard<'static, ()>,
}

/// Keeps every other test away while it lives.
pub struct Alone {
    _guard: RwLockWriteGuard<'static, ()>,
}

/// For a test that does not mind others beside it.
pub fn shared() -> Shared {
    // A test that panicked leaves nothing half done under this lock.
    Shared {
        _guard: MACHINE.read().unwrap_or_else(PoisonError::into_inner),
    }
}

/// For a test that measures time.
pub fn alone() -> Alone {
    Alone {
        _guard: MACHINE.write().unwrap_or_else(PoisonError::into_inner),
    }
}
