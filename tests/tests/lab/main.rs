//! The whole daemon on a real kernel: every test builds its own network of namespaces, runs the real binary in it and looks at
//! what the kernel and the wire say. Needs root, iproute2, nftables, tcpdump and busybox.

mod accuracy;
mod diagnosis;
mod disturbances;
mod failover;
mod fights;
mod forgery;
mod gateways;
mod harness;
mod hindrances;
mod lifecycle;
mod loss;
mod memory;
mod modes;
mod pins;
mod running;
mod uplinks;
