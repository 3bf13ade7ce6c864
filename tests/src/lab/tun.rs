//! A layer-3 device whose far end is a thread of the lab: it answers echo requests of both families, or keeps silent.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::lab::{
    namespace::Namespace,
    packet,
    worker::{Stop, Worker},
};

/// `TUNSETIFF` of linux/if_tun.h.
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;

/// `IFF_TUN | IFF_NO_PI`: IP packets without anything before them.
const TUN_WITHOUT_HEADER: libc::c_short = 0x1001;

/// How long the far end waits before it looks whether it should stop.
const POLL_MS: i32 = 50;

/// A tun device with somebody at its far end.
pub struct Tun {
    silent: Arc<AtomicBool>,
    _far_end: Worker<()>,
}

impl Tun {
    /// Makes the device, up, without addresses, and its far end.
    #[track_caller]
    pub fn start(namespace: &Namespace, name: &str) -> Self {
        let file = namespace.enter(|| open(name));
        namespace.ip(&format!("link set {name} up"));
        let silent = Arc::new(AtomicBool::new(false));
        let seen_inside = Arc::clone(&silent);
        let far_end = Worker::start("tun", move |stop| answer(file, &seen_inside, stop));
        Self {
            silent,
            _far_end: far_end,
        }
    }

    /// Whether the far end keeps silent.
    pub fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Relaxed);
    }
}

/// Makes a device in the namespace of this thread.
pub(crate) fn open(name: &str) -> File {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .expect("this kernel has tun devices");
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = TUN_WITHOUT_HEADER;
    // SAFETY: TUNSETIFF reads and writes one ifreq.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, &raw mut request) };
    assert_eq!(
        made,
        0,
        "cannot make {name}: {}",
        std::io::Error::last_os_error()
    );
    file
}

fn answer(mut file: File, silent: &AtomicBool, stop: &Stop) {
    let mut buffer = [0; 2048];
    while !stop.is_wanted() {
        let mut wanted = libc::pollfd {
            fd: file.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd, as the count says.
        if unsafe { libc::poll(&raw mut wanted, 1, POLL_MS) } <= 0 {
            continue;
        }
        // The device goes down with its namespace, before its far end is stopped.
        let Ok(length) = file.read(&mut buffer) else {
            continue;
        };
        let packet = &mut buffer[..length];
        if !silent.load(Ordering::Relaxed) && packet::echo(packet).is_some_and(|echo| !echo.reply) {
            packet::turn_around(packet);
            // A device that is down takes nothing.
            let _ = file.write(packet);
        }
    }
}
