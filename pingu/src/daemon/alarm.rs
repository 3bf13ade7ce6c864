//! The loop's alarm clock: a timer of the kernel's. Tokio's own rounds up to milliseconds, which is as long as the shortest period, and
//! wakes twice for what is further ahead than 64 of them.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr,
    time::Instant,
};

use tokio::io::{Interest, unix::AsyncFd};

/// A timer.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: AsyncFd<OwnedFd>,
    /// What it is set to.
    at: Option<Instant>,
}

impl Alarm {
    /// A timer that is not set.
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: a plain system call.
        let timer = unsafe {
            libc::timerfd_create(
                libc::CLOCK_MONOTONIC,
                libc::TFD_CLOEXEC | libc::TFD_NONBLOCK,
            )
        };
        if timer < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was opened just above and is nobody else's.
        let timer = unsafe { OwnedFd::from_raw_fd(timer) };
        // SAFETY: the descriptor is owned by what it is registered with, and so stays open as long as it is registered.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?;
        Ok(Self { timer, at: None })
    }

    /// Waits until `at`; `now` is the time. Safe to cancel: the next call may wait for another time.
    pub(super) async fn wait(&mut self, at: Instant, now: Instant) {
        if at <= now {
            return;
        }
        if self.at != Some(at) {
            self.set(at, now);
        }
        // A timer of this kind cannot fail to become readable; setting it anew takes back what it had to say.
        if let Ok(mut ready) = self.timer.readable().await {
            ready.clear_ready();
        }
        self.at = None;
    }

    fn set(&mut self, at: Instant, now: Instant) {
        let left = at - now;
        let setting = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: libc::timespec {
                tv_sec: left.as_secs() as libc::time_t,
                tv_nsec: left.subsec_nanos() as libc::c_long,
            },
        };
        // SAFETY: the setting outlives the call, and nothing is written back.
        let done =
            unsafe { libc::timerfd_settime(self.timer.as_raw_fd(), 0, &setting, ptr::null_mut()) };
        // It fails for descriptors that are no timers and times that are none.
        debug_assert_eq!(done, 0, "a timer takes every time");
        self.at = Some(at);
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::disallowed_methods,
        reason = "what is tested is that a clock of the kernel's keeps the time"
    )]

    use std::time::Duration;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn it_wakes_in_time_whatever_it_was_set_to_before() {
        let mut alarm = Alarm::new().unwrap();
        for (cancelled_ms, us) in [(50, 300), (1, 2_000), (500, 100_000), (0, 1)] {
            let now = Instant::now();
            let first = alarm.wait(now + Duration::from_millis(cancelled_ms), now);
            tokio::select! {
                biased;
                () = std::future::ready(()) => {}
                () = first => {}
            }
            let now = Instant::now();
            let at = now + Duration::from_micros(us);
            tokio::time::timeout(Duration::from_secs(10), alarm.wait(at, now))
                .await
                .expect("it wakes");
            assert!(Instant::now() >= at, "{us} us");
        }
    }

    /// Waits until a timer has run out, and leaves it so.
    fn passes(timer: i32) {
        let mut asked = libc::pollfd {
            fd: timer,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry, which outlives the call.
        let ready = unsafe { libc::poll(&raw mut asked, 1, 10_000) };
        assert_eq!(ready, 1, "it runs out");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_passed_unheard_wakes_nobody_later() {
        let mut alarm = Alarm::new().unwrap();
        let timer = alarm.timer.as_raw_fd();
        let now = Instant::now();
        {
            let mut waits = std::pin::pin!(alarm.wait(now + Duration::from_millis(1), now));
            // It is set once it has been asked.
            assert!(futures_util::poll!(&mut waits).is_pending());
            tokio::select! {
                biased;
                () = async { passes(timer) } => {}
                () = waits => {}
            }
        }
        let now = Instant::now();
        let at = now + Duration::from_millis(30);
        alarm.wait(at, now).await;
        assert!(Instant::now() >= at);
    }
}
