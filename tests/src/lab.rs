//! Real networks in namespaces, to run the whole daemon in. Everything here needs root, touches nothing outside the namespaces
//! that it made itself, and is gone when its owner is dropped, also by a panic.
//!
//! Reading order: [`namespace`] and [`site`] build a network, [`provider`] breaks it, [`daemon`] runs pingu in it; [`capture`],
//! [`route_watch`], [`pinger`] and [`wait`] tell what came of it.

pub mod advertisement;
pub mod bird;
pub mod capture;
pub mod chatter;
pub mod daemon;
pub mod delay;
pub mod dhclient;
pub mod dhcp;
pub mod dnsmasq;
pub mod flows;
pub mod foreign_program;
pub mod forger;
pub mod frr;
pub mod kernel;
pub mod load;
pub mod namespace;
pub mod network_manager;
pub mod networkd;
pub mod noise;
pub mod old_kernel;
pub mod packet;
pub mod pinger;
pub mod process;
pub mod provider;
pub mod radvd;
pub mod raw_socket;
pub mod route_monitor;
pub mod route_watch;
pub mod routes;
pub mod script;
pub mod server;
pub mod settings;
pub mod site;
pub mod status;
pub mod stopwatch;
pub mod tracer;
pub mod tun;
pub mod tun_pair;
pub mod turn;
pub mod wait;
pub mod worker;
