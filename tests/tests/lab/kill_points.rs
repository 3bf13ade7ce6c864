//! The kill-point sweep: the daemon is killed in place of sending its K-th netlink message, for every K of a start, a failover and
//! a failback. Each time a usable default stays if there was one, and the next start converges within two seconds without moving
//! traffic off a healthy uplink.
//!
//! Every phase is run with K = 1, 2, ... until the daemon has come to rest without being killed: then there are no more. What rest
//! looks like is learned first, from a run without a kill.

use pingu_tests::lab::{settings::Settings, site::Plan, tracer::SENDING, turn};

use crate::running::two_uplinks;

mod sweep;

use sweep::Sweep;

#[test]
fn a_kill_anywhere_beside_learned_defaults_leaves_a_usable_one() {
    let _turn = turn::shared();
    let settings = two_uplinks(prompt());
    let site = Plan::new(&["wan1", "wan2"]).build();
    let sweep = Sweep::prepare(&site, &settings);
    sweep.starts(SENDING, &["RTM_NEWROUTE"]);
    sweep.failovers("RTM_DELROUTE", "RTM_NEWROUTE");
}

#[test]
fn a_kill_anywhere_leaves_a_usable_default_although_pingus_own_are_the_only_ones() {
    let _turn = turn::shared();
    let settings = prompt()
        .uplink("fibre", "wan1", "10.0.1.1", 88)
        .uplink("lte", "wan2", "10.0.2.1", 89);
    let site = Plan::new(&["wan1", "wan2"]).without_defaults().build();
    Sweep::prepare(&site, &settings).failovers("RTM_DELROUTE", "RTM_NEWROUTE");
}

#[test]
fn a_kill_anywhere_while_learned_defaults_are_adopted_leaves_a_usable_one() {
    let _turn = turn::shared();
    let settings = two_uplinks(prompt().top("learned_routes = \"adopt\""));
    let site = Plan::new(&["wan1", "wan2"]).build();
    let sweep = Sweep::prepare(&site, &settings);
    sweep.starts(SENDING, &["RTM_NEWROUTE", "RTM_DELROUTE"]);
    // The note of what was adopted is what puts it back.
    sweep.starts("fsync", &["fsync"]);
    sweep.starts("rename", &["rename"]);
    sweep.failovers("RTM_DELROUTE", "RTM_NEWROUTE");
}

#[test]
fn a_kill_anywhere_while_routes_change_their_order_leaves_a_usable_default() {
    let _turn = turn::shared();
    let member =
        "table = 10{}\nadvertise = [{ prefixes = [\"203.0.113.{}/32\"], kind = \"blackhole\" }]";
    let of = |number: &str| member.replace("{}", number);
    let settings = prompt()
        .group("name = \"wan\"\nmode = \"ordered\"")
        .member("fibre", "wan1", "10.0.1.1", &of("1"))
        .member("lte", "wan2", "10.0.2.1", &of("2"));
    let site = Plan::new(&["wan1", "wan2"]).without_defaults().build();
    Sweep::prepare(&site, &settings).failovers("RTM_NEWROUTE", "RTM_NEWROUTE");
}

#[test]
fn a_kill_anywhere_while_a_group_of_nexthops_changes_leaves_a_usable_default() {
    let _turn = turn::shared();
    let settings = prompt()
        .group("name = \"wan\"\nmode = \"balance\"")
        .member("fibre", "wan1", "10.0.1.1", "weight = 200")
        .member("lte", "wan2", "10.0.2.1", "weight = 1");
    let site = Plan::new(&["wan1", "wan2"]).without_defaults().build();
    Sweep::prepare(&site, &settings).failovers("RTM_NEWNEXTHOP", "RTM_NEWNEXTHOP");
}

/// Probing that sees a black hole in a quarter of a second, and does not take a busy machine for one.
fn prompt() -> Settings {
    Settings::new()
        .probe("targets = [\"8.8.8.8\"]")
        .probe("count = 3\nspacing = \"10ms\"\nperiod = \"100ms\"\ntimeout = \"150ms\"")
        .health("max_lost = 2")
}
