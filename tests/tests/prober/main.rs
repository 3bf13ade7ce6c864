//! What sends the probes of scripts, on real devices and through real routes. Needs root; touches nothing but namespaces of its own.
#![expect(
    clippy::disallowed_methods,
    reason = "a deadline for the network needs the clock"
)]
#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

mod engines;
mod harness;
mod interfaces;
mod outcomes;
mod routes;
mod scale;
