//! The lab: networks of namespaces on one machine, and what is done to the daemon in them.

pub mod demo;
pub mod lab;
