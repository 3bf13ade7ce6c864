//! How much processor time a call has left, by the clock of its thread.

use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering},
    },
    time::Duration,
};

/// No call is under way.
const IDLE: u64 = u64::MAX;

/// A call has used up its time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it used more than {} ms of processor time", .limit.as_millis())]
pub struct OverTime {
    /// What it was given.
    pub limit: Duration,
    /// Where it was when that was noticed first.
    pub traceback: String,
}

/// The time of one call after another. The thread that runs them counts; others may follow.
#[derive(Debug)]
pub struct Budget {
    /// The thread that runs the call.
    thread_id: AtomicI32,
    /// The thread's clock at which the time of the call is over, in nanoseconds.
    deadline: AtomicU64,
    /// What the call was given, in nanoseconds.
    limit: AtomicU64,
    over: AtomicBool,
    /// Where the call was when its time was over.
    traceback: Mutex<String>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            thread_id: AtomicI32::new(0),
            deadline: AtomicU64::new(IDLE),
            limit: AtomicU64::new(0),
            over: AtomicBool::new(false),
            traceback: Mutex::default(),
        }
    }
}

impl Budget {
    pub(super) fn begin(&self, limit: Duration) {
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(IDLE);
        self.over.store(false, Ordering::Relaxed);
        self.traceback().clear();
        self.limit.store(limit, Ordering::Relaxed);
        // SAFETY: takes nothing and only returns a number.
        self.thread_id
            .store(unsafe { libc::gettid() }, Ordering::Relaxed);
        let deadline = used_by_this_thread().saturating_add(limit);
        self.deadline.store(deadline, Ordering::Release);
    }

    /// Whether the time was used up.
    pub(super) fn end(&self) -> bool {
        self.deadline.store(IDLE, Ordering::Release);
        self.over.load(Ordering::Relaxed)
    }

    /// Whether the time of the call is over; to be asked by the thread that runs it.
    pub(super) fn is_over(&self) -> bool {
        let deadline = self.deadline.load(Ordering::Relaxed);
        if deadline != IDLE && used_by_this_thread() > deadline {
            self.over.store(true, Ordering::Relaxed);
        }
        self.over.load(Ordering::Relaxed)
    }

    pub(super) fn check(&self) -> mlua::Result<()> {
        if self.is_over() {
            return Err(self.error());
        }
        Ok(())
    }

    /// The same from the hook, which knows where the script is.
    pub(super) fn check_in(&self, lua: &mlua::Lua) -> mlua::Result<()> {
        if !self.is_over() {
            return Ok(());
        }
        if self.traceback().is_empty()
            && let Ok(text) = lua.traceback(None, 0)
        {
            *self.traceback() = text.to_string_lossy();
        }
        Err(self.error())
    }

    pub(super) fn error(&self) -> mlua::Error {
        mlua::Error::external(OverTime {
            limit: Duration::from_nanos(self.limit.load(Ordering::Relaxed)),
            traceback: self.traceback().clone(),
        })
    }

    fn traceback(&self) -> MutexGuard<'_, String> {
        self.traceback
            .lock()
            .expect("nobody panics while holding it")
    }

    /// By how much the call under way has exceeded its time, seen from another thread; none while it has not.
    pub fn exceeded_by(&self) -> Option<Duration> {
        let deadline = self.deadline.load(Ordering::Acquire);
        if deadline == IDLE {
            return None;
        }
        let used = used_by(self.thread_id.load(Ordering::Relaxed))?;
        let exceeded = used.checked_sub(deadline)?;
        (exceeded > 0).then(|| Duration::from_nanos(exceeded))
    }
}

/// What the calling thread has used of the processor, in nanoseconds.
pub(super) fn used_by_this_thread() -> u64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID).unwrap_or_default()
}

/// The processor time of another thread of this process.
fn used_by(thread_id: i32) -> Option<u64> {
    /// "The scheduler's clock of a thread", beside the complement of its number (clock_getcpuclockid(3)'s layout).
    const OF_A_THREAD: i32 = 6;
    read((!thread_id << 3) | OF_A_THREAD)
}

fn read(clock: libc::clockid_t) -> Option<u64> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one timespec, or refuses a clock that is not there.
    let outcome = unsafe { libc::clock_gettime(clock, &mut time) };
    (outcome == 0).then(|| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
        seconds * 1_000_000_000 + nanos
    })
}
