//! What this machine charges for the wake-ups alone: a loop that sleeps, arms ten slots, sends ten ready frames in one system call and
//! reads the slots of the last ten, through the same programs. What the daemon takes beyond that is its own.

use std::{
    io,
    os::fd::AsRawFd,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use pingu::{
    config::ReceiveHook,
    probe::{
        ProbeTransport,
        kernel::{KernelTransport, LoadOptions},
    },
};
use pingu_common::MARK;

use crate::bench::{
    bare_loop::{self, COOKIE, frames, message, packet_socket, vectors},
    cpu,
    link::{Link, TARGETS},
    report::median,
};

/// Probes in a wake-up.
pub(super) const TOGETHER: u32 = 10;

/// Rounds before the first look.
const WARM_UP: u32 = 10;

/// Processor time for a probe in microseconds, softirq included: the median of so many looks of so long each.
pub(super) fn cpu_us_per_probe(rate: u32, runs: usize, look: Duration) -> Result<f64> {
    let link = Link::new(TOGETHER)?;
    let orders = bare_loop::orders(TOGETHER, TOGETHER, TARGETS, &link.template());
    let period = Duration::from_secs(1) * TOGETHER / rate;
    let rounds = look.div_duration_f64(period).ceil() as u32;
    link.sender.run(move || {
        let ifindex = orders[0].ifindex;
        let options = LoadOptions::new(TOGETHER, ReceiveHook::Tcx);
        let mut transport = KernelTransport::load(options)?;
        transport.attach(ifindex, false)?;
        let socket = packet_socket(ifindex, MARK)?;
        let mut frames = frames(&orders)?;
        let mut vectors = vectors(&mut frames);
        let mut messages: Vec<_> = vectors.iter_mut().map(message).collect();
        let mut answered = 0;
        let mut turn = |at: Instant| -> Result<()> {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            for order in &orders {
                answered += u32::from(transport.read(order.slot).received_ns.is_some());
                transport.arm(order, COOKIE, 0);
            }
            // SAFETY: each message points to a vector and each vector to a frame; all of them live until the end of this function.
            let sent =
                unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), TOGETHER, 0) };
            ensure!(
                sent.cast_unsigned() == TOGETHER,
                "sendmmsg: {sent}, {}",
                io::Error::last_os_error()
            );
            Ok(())
        };
        let begin = Instant::now();
        for round in 0..WARM_UP {
            turn(begin + period * round)?;
        }
        let mut looks = Vec::new();
        for _ in 0..runs {
            let softirq_before = cpu::softirq_threads_time()?;
            let before = cpu::thread_time();
            let begin = Instant::now();
            for round in 1..=rounds {
                turn(begin + period * round)?;
            }
            let took = cpu::thread_time() - before;
            let softirq = cpu::softirq_threads_time()?.saturating_sub(softirq_before);
            looks.push((took + softirq).as_secs_f64() * 1e6 / f64::from(rounds * TOGETHER));
        }
        let turns = WARM_UP + rounds * runs as u32;
        ensure!(
            answered == (turns - 1) * TOGETHER,
            "{answered} of {} probes were answered",
            (turns - 1) * TOGETHER
        );
        Ok(median(looks.into_iter()))
    })
}
