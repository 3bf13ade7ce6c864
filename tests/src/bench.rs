//! What the benchmarks and the tests of the probe path stand on.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

pub mod cpu;
pub mod namespace;
pub mod probe;
pub mod report;
