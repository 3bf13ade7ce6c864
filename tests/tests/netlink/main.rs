//! The netlink adapters on a real kernel: what they read, write and hear, beside what `ip`, `conntrack` and `nft` say. Needs
//! root; touches nothing but namespaces of its own.
#![expect(
    clippy::disallowed_methods,
    reason = "tests wait for the kernel by the clock"
)]
#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

mod changes;
mod connections;
mod dumps;
mod harness;
mod interrupted;
mod keys;
mod large_tables;
mod marks;
mod model;
mod neighbours;
mod news;
mod policy;
mod restore;
mod router;
mod rules;
