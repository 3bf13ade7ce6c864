//! pingu probes every way out of a router and keeps the kernel's routes on the ones that work.
//!
//! Modules in reading order: numbers that mean something; what is configured; what the kernel knows; what is probed; what is
//! thought and decided, without a clock or a socket; how the kernel is read and written; which marks a firewall table of pingu's own
//! sets; what survives a crash; what is said aloud; how a running daemon is asked; what is installed; the loop that joins them; the
//! other end of a probe; scripts; what other systems' configurations become.

pub mod units;

pub mod config;

pub mod network;

pub mod probe;

pub mod engine;

pub mod netlink;

pub mod firewall;

mod state_file;

mod process;

pub mod adopted;

pub mod memory;

pub mod log;

pub mod control;

pub mod install;

pub mod daemon;

pub mod reflect;

pub mod script;

pub mod import;
