//! The lab.

pub mod bench;
