//! What wakes the prober: any of its sockets, or a timer, behind one descriptor.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
    time::{Duration, Instant},
};

use tokio::io::{Interest, unix::AsyncFd};

/// So many sockets are told of in one system call. The set is level-triggered: what is not told yet is told by the next call.
const TOLD_MAX: usize = 64;

/// Calls in a row; whoever has more sockets with replies hears of the rest next time.
const TURNS_MAX: usize = 64;

/// The set and the timer.
#[derive(Debug)]
pub(super) struct Bell {
    set: OwnedFd,
    timer: OwnedFd,
    /// What the timer is set to.
    at: Option<Instant>,
    /// The timer, known to the runtime once somebody waits.
    timer_waiter: Option<AsyncFd<OwnedFd>>,
    /// The set, known to the runtime while somebody waits for sockets.
    set_waiter: Option<AsyncFd<OwnedFd>>,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Sockets, or the time.
    Eager,
    /// The time alone; sockets wake nobody, not even the runtime.
    Patient,
}

impl Bell {
    /// A timer that is not set, and no sockets.
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: a plain system call.
        let set = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: a plain system call.
        let timer = owned(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) })?;
        Ok(Self {
            set,
            timer,
            at: None,
            timer_waiter: None,
            set_waiter: None,
        })
    }

    /// Adds a socket until it is closed.
    pub(super) fn add(&self, socket: BorrowedFd<'_>, number: u32) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: u64::from(number),
        };
        let (set, socket) = (self.set.as_raw_fd(), socket.as_raw_fd());
        // SAFETY: the event outlives the call.
        let added = unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, socket, &raw mut event) };
        if added == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Sockets that have something to read.
    pub(super) fn ask(&self) -> Vec<u32> {
        let mut told = Vec::new();
        for _ in 0..TURNS_MAX {
            let mut events = [libc::epoll_event { events: 0, u64: 0 }; TOLD_MAX];
            // SAFETY: the events outlive the call, and there are as many.
            let count = unsafe {
                libc::epoll_wait(
                    self.set.as_raw_fd(),
                    events.as_mut_ptr(),
                    TOLD_MAX as i32,
                    0,
                )
            };
            let ready = &events[..count.max(0) as usize];
            let before = told.len();
            for event in ready {
                let number = event.u64 as u32;
                if !told.contains(&number) {
                    told.push(number);
                }
            }
            // The kernel tells of sockets in turn: where none is new, all were told of.
            if ready.len() < TOLD_MAX || told.len() == before {
                break;
            }
        }
        told
    }

    /// Waits until `at`, or for a socket; `now` is the time. Safe to cancel.
    pub(super) async fn wait(
        &mut self,
        at: Option<Instant>,
        now: Instant,
        patience: Patience,
    ) -> io::Result<()> {
        self.set_timer(at, now);
        let timer = register(&mut self.timer_waiter, &self.timer)?;
        if patience == Patience::Patient {
            self.set_waiter = None;
            return readable(timer).await;
        }
        let set = register(&mut self.set_waiter, &self.set)?;
        tokio::select! {
            biased;
            woken = readable(set) => woken,
            woken = readable(timer) => woken,
        }
    }

    fn set_timer(&mut self, at: Option<Instant>, now: Instant) {
        // One that has gone off says so until it is set again.
        if self.at == at && at.is_none_or(|at| at > now) {
            return;
        }
        // Nothing at all takes a timer back; the next nanosecond is as good as at once.
        let left = at.map_or(Duration::ZERO, |at| {
            at.saturating_duration_since(now)
                .max(Duration::from_nanos(1))
        });
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
        self.at = at;
    }
}

fn register<'a>(
    waiter: &'a mut Option<AsyncFd<OwnedFd>>,
    fd: &OwnedFd,
) -> io::Result<&'a AsyncFd<OwnedFd>> {
    Ok(match waiter {
        Some(waiter) => waiter,
        none => {
            let fd = fd.try_clone()?;
            // SAFETY: the descriptor is owned by what it is registered with, and so stays open as long as it is registered.
            none.insert(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
        }
    })
}

/// Waits until it is readable. What was readable before and was read meanwhile wakes nobody.
async fn readable(waiter: &AsyncFd<OwnedFd>) -> io::Result<()> {
    loop {
        let mut ready = waiter.readable().await?;
        if is_ready(waiter.get_ref()) {
            return Ok(());
        }
        // Whatever becomes readable between the look and this is seen by the next look, or heard of as an edge.
        ready.clear_ready();
        if is_ready(waiter.get_ref()) {
            return Ok(());
        }
    }
}

fn is_ready(set: &OwnedFd) -> bool {
    let mut poll = libc::pollfd {
        fd: set.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: the one entry outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
}

fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was opened just above and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
