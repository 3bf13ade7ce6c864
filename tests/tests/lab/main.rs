//! The whole daemon on a real kernel: every test builds its own network of namespaces, runs the real binary in it and looks at
//! what the kernel and the wire say. Needs root and the programs that `cargo xtask setup` installs.

mod accuracy;
mod advertisements;
mod checks;
mod connections;
mod diagnosis;
mod disturbances;
mod engines;
mod failover;
mod fights;
mod forgery;
mod gateway_kinds;
mod gateways;
mod harness;
mod hindrances;
mod interfaces;
mod kill_points;
mod leases;
mod leftovers;
mod lifecycle;
mod loss;
mod many_prefixes;
mod memory;
mod modes;
mod mutators;
mod network_managers;
mod passive;
mod pins;
mod policy;
mod redistribution;
mod reflector;
mod rivals;
mod routing_suite;
mod running;
mod steering;
mod uplinks;
