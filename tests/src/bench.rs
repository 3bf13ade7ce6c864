//! What the benchmarks and the tests of the probe path stand on.

pub mod namespace;
