//! When a reply came: by the kernel's own stamp, where that is there and plausible, and else by the hook's look at the clock.

use aya::{TestRun, TestRunOptions, programs::Program};
use pingu::{probe::ProbeTransport, units::SlotId};
use pingu_common::{PROGRAM_REPLY_BARE, PROGRAM_REPLY_ETHERNET};

use crate::{
    harness::{IFINDEX, Receiver, Rig},
    packets::Echo,
};

/// The stamp's place in `struct __sk_buff`.
const STAMP_OFFSET: usize = 152;
const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000 * NS_PER_MS;

/// What a slot says, in nanoseconds of the monotonic clock.
struct Told {
    /// The time before and after the run.
    run_ns: [u64; 2],
    /// When the reply came.
    received_ns: u64,
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes the time into what lives here.
    assert_eq!(unsafe { libc::clock_gettime(clock, &raw mut time) }, 0);
    time.tv_sec as u64 * NS_PER_S + time.tv_nsec as u64
}

/// Runs a right reply, sent this long before, with a stamp made of the real-time clock's now.
fn told(
    rig: &mut Rig,
    receiver: Receiver,
    sent_before_ns: u64,
    stamp: &dyn Fn(u64) -> u64,
) -> Told {
    let reply = Echo::reply_v4(receiver);
    let sent_ns = clock_ns(libc::CLOCK_MONOTONIC) - sent_before_ns;
    rig.expect_on(&reply, IFINDEX, sent_ns);
    let name = match receiver {
        Receiver::Ethernet => PROGRAM_REPLY_ETHERNET,
        Receiver::Bare => PROGRAM_REPLY_BARE,
        Receiver::Xdp => unreachable!("XDP comes before the kernel's stamp"),
    };
    let Program::SchedClassifier(program) = rig.transport.program(name).unwrap() else {
        panic!("{name} is no classifier");
    };
    let packet = reply.bytes();
    let mut out = vec![0; packet.len() + 64];
    let mut context = [0; STAMP_OFFSET + 8];
    let before_ns = clock_ns(libc::CLOCK_MONOTONIC);
    let stamp_ns = stamp(clock_ns(libc::CLOCK_REALTIME));
    context[STAMP_OFFSET..].copy_from_slice(&stamp_ns.to_ne_bytes());
    program
        .test_run(TestRunOptions {
            data_in: Some(&packet),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..Default::default()
        })
        .unwrap();
    let after_ns = clock_ns(libc::CLOCK_MONOTONIC);
    let stamps = rig.transport.read(SlotId(reply.slot));
    Told {
        run_ns: [before_ns, after_ns],
        received_ns: stamps.received_ns.expect("a right reply counts"),
    }
}

#[test]
fn a_reply_came_when_the_kernel_stamped_it() {
    let mut rig = Rig::new();
    for receiver in [Receiver::Ethernet, Receiver::Bare] {
        for waited_ns in [0, 700, 3 * NS_PER_MS, 90 * NS_PER_MS] {
            let told = told(&mut rig, receiver, NS_PER_S, &|now_ns| now_ns - waited_ns);
            let came_ns = told.received_ns + waited_ns;
            let [before_ns, after_ns] = told.run_ns;
            // The clock is not read at the very instant at which the stamp is made.
            assert!(
                (before_ns - NS_PER_MS..=after_ns).contains(&came_ns),
                "{receiver:?}, {waited_ns}: {came_ns} in {:?}",
                told.run_ns
            );
        }
    }
}

#[test]
fn without_a_plausible_stamp_a_reply_came_when_the_hook_saw_it() {
    let mut rig = Rig::new();
    let sent_before_ns = 50 * NS_PER_MS;
    let stamps: [(&str, &dyn Fn(u64) -> u64); 6] = [
        ("none", &|_| 0),
        ("before the request", &|now_ns| now_ns - 60 * NS_PER_MS),
        ("too long ago", &|now_ns| now_ns - 200 * NS_PER_MS),
        ("in the future", &|now_ns| now_ns + 90 * NS_PER_S),
        ("of another clock", &|_| 1_000_000),
        ("of no clock", &|_| u64::MAX),
    ];
    for receiver in [Receiver::Ethernet, Receiver::Bare] {
        for (what, stamp) in stamps {
            let told = told(&mut rig, receiver, sent_before_ns, stamp);
            let [before_ns, after_ns] = told.run_ns;
            assert!(
                (before_ns..=after_ns).contains(&told.received_ns),
                "{receiver:?}, {what}: {} in {:?}",
                told.received_ns,
                told.run_ns
            );
        }
    }
}
