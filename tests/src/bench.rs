//! What the benchmarks and the tests of the probe path stand on.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

pub mod accuracy;
mod af_xdp;
mod bare_loop;
pub mod bpf;
pub mod cpu;
mod daemon;
pub mod detect;
pub mod forward;
pub mod goal;
pub mod idle;
mod link;
pub mod namespace;
pub mod one_target;
mod peers;
pub mod plot;
pub mod probe;
pub mod report;
pub mod routes;
pub mod saved;
mod watched;
