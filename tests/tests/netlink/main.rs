//! The rtnetlink adapter on a real kernel: what it reads, writes and hears, beside what `ip` says. Needs root; touches nothing
//! but namespaces of its own.
#![expect(
    clippy::disallowed_methods,
    reason = "tests wait for the kernel by the clock"
)]
#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

mod changes;
mod dumps;
mod harness;
mod interrupted;
mod keys;
mod model;
mod neighbours;
mod news;
mod policy;
mod restore;
