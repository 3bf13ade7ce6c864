//! The whole daemon in network namespaces: the lab, the demo and the benchmarks.

pub mod bench;
pub mod demo;
pub mod lab;
