//! A layer-3 link: two tun devices, and a thread of the lab that hands each one's packets to the other and loses echo messages of one kind
//! where that is asked for.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::lab::{
    namespace::Namespace,
    packet, tun,
    worker::{Stop, Worker},
};

/// How long the link waits for packets before it looks whether it should stop.
const POLL_MS: i32 = 50;

/// Of so many messages of a kind in a row on a lossy link, the first [`LOST`] are lost.
const OF: u64 = 5;
const LOST: u64 = 2;

/// The link.
pub struct TunPair {
    losses: Arc<[Loss; 2]>,
    _relay: Worker<()>,
}

/// What becomes of echo requests, or of replies.
#[derive(Default)]
struct Loss {
    is_lossy: AtomicBool,
    seen: AtomicU64,
    /// By family.
    dropped: [AtomicU64; 2],
}

impl TunPair {
    /// Makes both devices, up, without addresses, and what lies between them.
    #[track_caller]
    pub fn start(ends: [(&Namespace, &str); 2]) -> Self {
        let files = ends.map(|(namespace, name)| {
            let file = namespace.enter(|| tun::open(name));
            namespace.ip(&format!("link set {name} up"));
            file
        });
        let losses = Arc::<[Loss; 2]>::default();
        let seen_inside = Arc::clone(&losses);
        let relay = Worker::start("tun pair", move |stop| relay(files, &seen_inside, stop));
        Self {
            losses,
            _relay: relay,
        }
    }

    /// Loses two of five echo requests, or replies.
    pub fn lose(&self, replies: bool) {
        self.losses[usize::from(replies)]
            .is_lossy
            .store(true, Ordering::Relaxed);
    }

    /// Loses nothing any more.
    pub fn lose_no_more(&self) {
        for loss in &*self.losses {
            loss.is_lossy.store(false, Ordering::Relaxed);
        }
    }

    /// How many echo messages of this family were lost.
    pub fn dropped(&self, is_ipv6: bool) -> u64 {
        let dropped = |loss: &Loss| loss.dropped[usize::from(is_ipv6)].load(Ordering::Relaxed);
        self.losses.iter().map(dropped).sum()
    }
}

fn relay(mut files: [File; 2], losses: &[Loss; 2], stop: &Stop) {
    let mut buffer = [0; 2048];
    while !stop.is_wanted() {
        let mut wanted = [&files[0], &files[1]].map(|file| libc::pollfd {
            fd: file.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        });
        // SAFETY: two of them, as the count says.
        if unsafe { libc::poll(wanted.as_mut_ptr(), 2, POLL_MS) } <= 0 {
            continue;
        }
        for (end, state) in wanted.iter().enumerate() {
            if state.revents & libc::POLLIN == 0 {
                continue;
            }
            // A device goes down with its namespace, before the link is stopped.
            let Ok(length) = files[end].read(&mut buffer) else {
                continue;
            };
            let packet = &buffer[..length];
            if !is_lost(packet, losses) {
                // A device that is down takes nothing.
                let _ = files[1 - end].write(packet);
            }
        }
    }
}

fn is_lost(packet: &[u8], losses: &[Loss; 2]) -> bool {
    let Some(echo) = packet::echo(packet) else {
        return false;
    };
    let loss = &losses[usize::from(echo.reply)];
    if !loss.is_lossy.load(Ordering::Relaxed) {
        return false;
    }
    let is_lost = loss.seen.fetch_add(1, Ordering::Relaxed) % OF < LOST;
    if is_lost {
        loss.dropped[usize::from(echo.source.is_ipv6())].fetch_add(1, Ordering::Relaxed);
    }
    is_lost
}
