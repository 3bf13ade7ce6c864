//! The eBPF programs on a real kernel: single packets through `BPF_PROG_TEST_RUN`, random ones against a plain reading of the
//! rules, and whole probes over real devices. Needs root; touches nothing but namespaces of its own.
#![expect(
    clippy::disallowed_methods,
    reason = "a deadline for the network needs the clock"
)]
#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

mod af_xdp;
mod decisions;
mod device;
mod errors;
mod fan;
mod flows;
mod fuzz;
mod harness;
mod hooks;
mod live;
mod packets;
mod passing;
mod queues;
mod quotes;
mod reference;
mod reflect;
mod remarks;
mod requests;
mod socket_engine;
mod sockets;
mod stamps;
mod traffic;
mod tun;
