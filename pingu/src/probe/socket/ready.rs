//! Which sockets have something to read: one system call for all of them.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

use crate::units::Ifindex;

/// So many sockets are told of in one system call, and so often is asked in a row.
const READY_MAX: usize = 64;
const TURNS_MAX: usize = 64;

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Replies of ours by this interface.
    Own(Ifindex),
    /// Others.
    Stray(Ifindex),
    /// Something at its echo sockets.
    Echo(Ifindex),
}

/// The set of sockets.
pub(super) struct Ready(OwnedFd);

impl Ready {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: a plain system call.
        let set = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if set < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was opened just above and is nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(set) }))
    }

    /// Adds a socket until it is closed. It is told of once for everything that has come until then: what is told must be read.
    pub(super) fn watch(&self, socket: &OwnedFd, waiting: Waiting) -> io::Result<()> {
        let (kind, ifindex) = match waiting {
            Waiting::Own(ifindex) => (0, ifindex),
            Waiting::Stray(ifindex) => (1, ifindex),
            Waiting::Echo(ifindex) => (2, ifindex),
        };
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLET) as u32,
            u64: u64::from(ifindex.0) << 2 | kind,
        };
        // SAFETY: the event outlives the call.
        let result = unsafe {
            libc::epoll_ctl(
                self.0.as_fd().as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                socket.as_raw_fd(),
                &raw mut event,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// What has come since the last call.
    pub(super) fn ask(&self) -> Vec<Waiting> {
        let mut waiting = Vec::new();
        for _ in 0..TURNS_MAX {
            let mut events = [libc::epoll_event { events: 0, u64: 0 }; READY_MAX];
            // SAFETY: the events outlive the call, and there are as many.
            let count = unsafe {
                libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), READY_MAX as i32, 0)
            };
            let ready = &events[..count.max(0) as usize];
            for event in ready {
                let key = event.u64;
                let ifindex = Ifindex((key >> 2) as u32);
                waiting.push(match key & 3 {
                    0 => Waiting::Own(ifindex),
                    1 => Waiting::Stray(ifindex),
                    _ => Waiting::Echo(ifindex),
                });
            }
            if ready.len() < READY_MAX {
                break;
            }
        }
        waiting
    }
}
