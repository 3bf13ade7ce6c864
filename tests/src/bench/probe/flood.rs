//! pingu's own transport as fast as it goes, in this process.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use pingu::{
    probe::{
        EngineKind, ProbeOrder, ProbeTransport, SendResult,
        kernel::{KernelTransport, LoadOptions},
    },
    units::SlotId,
};

use super::{Options, Run, TIMEOUT};
use crate::bench::{cpu, link::TARGETS};

/// Sends as fast as it can with a bounded number of probes in flight, as the daemon would: whole bursts, then a look at the slots.
pub(super) fn flood(options: &Options, template: ProbeOrder) -> Result<(EngineKind, Run)> {
    let mut transport = KernelTransport::load(LoadOptions::new(options.window, options.receive))?;
    let engine = transport.attach(template.ifindex, false)?;
    let mut flood = Flood::new(options, template);
    let softirq_before = cpu::softirq_threads_time()?;
    let cpu_before = cpu::thread_time();
    let begin = Instant::now();
    flood.run(&mut transport)?;
    let elapsed = begin.elapsed();
    let cpu = cpu::thread_time() - cpu_before + (cpu::softirq_threads_time()? - softirq_before);
    let run = Run {
        sent: flood.sent,
        answered: flood.answered,
        elapsed,
        cpu,
    };
    let counters = transport.counters()?;
    ensure!(
        counters.matched == run.answered,
        "{counters:?} does not agree with {run:?}"
    );
    Ok((engine, run))
}

struct Flood {
    template: ProbeOrder,
    /// What is sent next: one order for each free slot.
    orders: Vec<ProbeOrder>,
    results: Vec<SendResult>,
    free: Vec<SlotId>,
    waiting: Vec<SlotId>,
    targets: u32,
    next_target: u32,
    wanted: u64,
    sent: u64,
    answered: u64,
}

impl Flood {
    fn new(options: &Options, template: ProbeOrder) -> Self {
        Self {
            template,
            orders: Vec::new(),
            results: Vec::new(),
            free: (0..options.window).map(SlotId).collect(),
            waiting: Vec::new(),
            targets: options.targets,
            next_target: 0,
            wanted: u64::from(options.probes),
            sent: 0,
            answered: 0,
        }
    }

    fn run(&mut self, transport: &mut KernelTransport) -> Result<()> {
        let mut last_answer = Instant::now();
        while self.sent < self.wanted || !self.waiting.is_empty() {
            self.send(transport)?;
            let answered = self.answered;
            self.collect(transport);
            if self.answered != answered {
                last_answer = Instant::now();
            } else if last_answer.elapsed() > TIMEOUT {
                return Ok(());
            } else {
                // Softirq work was put off to its own thread, which needs this core.
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    fn send(&mut self, transport: &mut KernelTransport) -> Result<()> {
        let room = (self.wanted - self.sent).min(self.free.len() as u64) as usize;
        self.orders.clear();
        for slot in self.free.drain(self.free.len() - room..) {
            self.template.sequence = self.template.sequence.wrapping_add(1);
            let target = IpAddr::V4(Ipv4Addr::from(TARGETS + self.next_target));
            self.next_target = (self.next_target + 1) % self.targets;
            self.orders.push(ProbeOrder {
                slot,
                target,
                ..self.template
            });
        }
        transport.send(&self.orders, &mut self.results);
        ensure!(
            self.results
                .iter()
                .all(|result| *result == SendResult::Sent),
            "not sent: {:?}",
            self.results
        );
        self.sent += room as u64;
        self.waiting
            .extend(self.orders.iter().map(|order| order.slot));
        Ok(())
    }

    fn collect(&mut self, transport: &KernelTransport) {
        let free_before = self.free.len();
        self.waiting.retain(|slot| {
            let answered = transport.read(*slot).received_ns.is_some();
            if answered {
                self.free.push(*slot);
            }
            !answered
        });
        self.answered += (self.free.len() - free_before) as u64;
    }
}

/// Sends at a steady rate, all that is due at each tick together, and reads what became of it at a later one: the daemon's way, without the
/// daemon.
pub(super) fn paced(
    options: &Options,
    template: ProbeOrder,
    [tick, length]: [Duration; 2],
) -> Result<Run> {
    let each = (f64::from(options.rate) * tick.as_secs_f64())
        .round()
        .max(1.0) as u32;
    let ticks = (length.as_secs_f64() / tick.as_secs_f64()) as u32;
    // A probe's slot is read when its turn comes again, long after its answer.
    let kept = (TIMEOUT.as_secs_f64() / tick.as_secs_f64()).ceil() as u32 / 10 + 1;
    let mut transport = KernelTransport::load(LoadOptions::new(each * kept, options.receive))?;
    transport.attach(template.ifindex, false)?;
    let mut orders = vec![template; each as usize];
    let mut results = Vec::new();
    let (mut sent, mut answered) = (0, 0);
    let softirq_before = cpu::softirq_threads_time()?;
    let cpu_before = cpu::thread_time();
    let begin = Instant::now();
    for number in 0..ticks {
        std::thread::sleep((tick * number).saturating_sub(begin.elapsed()));
        let base = number % kept * each;
        for (place, order) in orders.iter_mut().enumerate() {
            order.slot = SlotId(base + place as u32);
            if number >= kept && transport.read(order.slot).received_ns.is_some() {
                answered += 1;
            }
            order.sequence = order.sequence.wrapping_add(1);
            let next = (number * each + place as u32) % options.rate_targets;
            order.target = IpAddr::V4(Ipv4Addr::from(TARGETS + next));
        }
        transport.send(&orders, &mut results);
        let all_left = results.iter().all(|result| *result == SendResult::Sent);
        ensure!(all_left, "not sent: {results:?}");
        sent += u64::from(each);
    }
    std::thread::sleep((tick * ticks).saturating_sub(begin.elapsed()));
    let elapsed = begin.elapsed();
    let cpu = cpu::thread_time() - cpu_before + (cpu::softirq_threads_time()? - softirq_before);
    let rest = (0..each * kept.min(ticks)).map(SlotId);
    answered += rest
        .filter(|slot| transport.read(*slot).received_ns.is_some())
        .count() as u64;
    Ok(Run {
        sent,
        answered,
        elapsed,
        cpu,
    })
}
