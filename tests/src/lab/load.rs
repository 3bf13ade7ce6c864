//! Every core kept busy, for a bounded time.
#![expect(clippy::disallowed_methods, reason = "the load ends by the clock")]

use std::time::{Duration, Instant};

use crate::lab::worker::Worker;

/// Steps between two looks at the clock: a fraction of a microsecond.
const STEPS: u32 = 256;

/// A busy thread on every core.
pub struct Load {
    _hogs: Vec<Worker<()>>,
}

impl Load {
    /// Occupies every core until dropped, at most for so long.
    pub fn start(at_most: Duration) -> Self {
        let end = Instant::now() + at_most;
        let cores = std::thread::available_parallelism()
            .expect("the number of cores is known")
            .get();
        let hogs = (0..cores).map(|core| {
            Worker::start("hog", move |stop| {
                stay_on(core);
                while !stop.is_wanted() && Instant::now() < end {
                    for _ in 0..STEPS {
                        std::hint::spin_loop();
                    }
                }
            })
        });
        Self {
            _hogs: hogs.collect(),
        }
    }
}

/// Keeps the calling thread, and what it starts from here on, on one core.
pub fn stay_on(core: usize) {
    // SAFETY: all zeroes is the empty set; the calls read and write only this set.
    let pinned = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    assert_eq!(
        pinned,
        0,
        "cannot stay on core {core}: {}",
        std::io::Error::last_os_error()
    );
}
