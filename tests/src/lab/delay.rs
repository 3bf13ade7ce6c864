//! A slow provider: what comes from the Internet waits in a thread of the lab, for kernels without netem.
//!
//! A rule in the provider leads IPv4 packets from the Internet into a tun device. The thread at its far end keeps each for its time
//! and sends it back in, to go on to the router.
#![expect(clippy::disallowed_methods, reason = "a delay is real time")]

use std::{
    collections::VecDeque,
    fs::File,
    io::{Read, Write},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::lab::{
    provider::{INTERNET_SIDE, Provider},
    tun,
    worker::{Stop, Worker},
};

/// The device in the provider.
const DEVICE: &str = "slow0";

/// The provider's routing table that leads there.
const TABLE: u32 = 99;

/// Far more than any probing has under way; what comes beyond is lost, as in a router's queue.
const QUEUE_PACKETS_MAX: usize = 1000;

/// The thread looks so often whether something is due: what a delay may be too long.
const LOOK_EVERY_MS: i32 = 1;

/// Delays packets until dropped.
pub struct Delay {
    wanted: Arc<Wanted>,
    _relay: Worker<()>,
}

/// The delays of every other packet, in microseconds.
#[derive(Default)]
struct Wanted([AtomicU64; 2]);

impl Delay {
    /// Puts itself into a provider's way, without any delay yet. Drop it before its site.
    #[track_caller]
    pub fn start(provider: &Provider) -> Self {
        let namespace = &provider.namespace;
        let device = namespace.enter(|| tun::open(DEVICE));
        namespace.ip(&format!("link set {DEVICE} up"));
        namespace.ip(&format!("route add default dev {DEVICE} table {TABLE}"));
        namespace.ip(&format!("rule add iif {INTERNET_SIDE} lookup {TABLE}"));
        let wanted = Arc::<Wanted>::default();
        let seen_inside = Arc::clone(&wanted);
        let relay = Worker::start("delay", move |stop| relay(device, &seen_inside, stop));
        Self {
            wanted,
            _relay: relay,
        }
    }

    /// Every packet waits so long.
    pub fn set(&self, delay: Duration) {
        self.alternate(delay, delay);
    }

    /// Of two packets in a row, one waits for the first time and the other for the second.
    pub fn alternate(&self, first: Duration, second: Duration) {
        for (wanted, delay) in self.wanted.0.iter().zip([first, second]) {
            let delay_us = u64::try_from(delay.as_micros()).expect("a delay of less than an age");
            wanted.store(delay_us, Ordering::Relaxed);
        }
    }
}

fn relay(mut device: File, wanted: &Wanted, stop: &Stop) {
    let mut buffer = [0; 2048];
    let mut waiting: [VecDeque<(Instant, Vec<u8>)>; 2] = Default::default();
    let mut turn = 0;
    while !stop.is_wanted() {
        for queue in &mut waiting {
            while let Some((_, packet)) = queue.pop_front_if(|(due, _)| *due <= Instant::now()) {
                // A device that is down takes nothing.
                let _ = device.write(&packet);
            }
        }
        let mut readable = libc::pollfd {
            fd: device.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd, as the count says.
        if unsafe { libc::poll(&raw mut readable, 1, LOOK_EVERY_MS) } <= 0 {
            continue;
        }
        // The device goes down with its namespace, before its far end is stopped.
        let Ok(length) = device.read(&mut buffer) else {
            continue;
        };
        let delay = Duration::from_micros(wanted.0[turn].load(Ordering::Relaxed));
        if waiting[turn].len() < QUEUE_PACKETS_MAX {
            waiting[turn].push_back((Instant::now() + delay, buffer[..length].to_vec()));
        }
        turn = 1 - turn;
    }
}
