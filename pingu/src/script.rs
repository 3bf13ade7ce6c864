//! Lua scripts: those that decide alone, as failoverd's do, and those that advise the daemon.

pub mod failoverd;

pub mod module;

pub mod policy;

pub mod probe;

pub mod prober;

pub mod vm;
