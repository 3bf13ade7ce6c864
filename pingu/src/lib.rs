//! pingu probes every way out of a router and keeps the kernel's routes on the ones that work.
//!
//! Modules in reading order: what is configured, what the kernel knows, what is probed, what is thought, what is done.

pub mod units;

pub mod config;

pub mod network;

pub mod probe;

pub mod netlink;

pub mod engine;
