//! Interfaces without an address of their own, or without the one that is asked for.

use super::*;

/// An address on another interface than the uplink's.
fn elsewhere(text: &str) -> Address {
    Address {
        ifindex: Ifindex(1),
        ..address(text, 32)
    }
}

fn asking(source: &str) -> UplinkConfig {
    let mut asking = uplink(Gateway::Device);
    match source.parse().expect("an address") {
        IpAddr::V4(own) => asking.source.v4 = Some(own),
        IpAddr::V6(own) => asking.source.v6 = Some(own),
    }
    asking
}

fn source_of(uplink: &UplinkConfig, ipv6: bool, seen: &Snapshot) -> Result<String, Obstacle> {
    let way = find(uplink, ipv6, seen, OWN, Known::default())?;
    Ok(way.source.to_string())
}

#[test]
fn an_address_that_is_named_may_be_another_interfaces() {
    for (own, ipv6) in [("203.0.113.5", false), ("2001:db8:5::1", true)] {
        let mut seen = snapshot(vec![]);
        seen.addresses = vec![elsewhere(own)];
        assert_eq!(
            source_of(&uplink(Gateway::Device), ipv6, &seen),
            Err(Obstacle::NoAddress),
            "nobody names it"
        );
        assert_eq!(source_of(&asking(own), ipv6, &seen).as_deref(), Ok(own));
        let mut taught = route(16, 100, if ipv6 { "fe80::1" } else { "192.0.2.1" });
        taught.preferred_source = own.parse().ok();
        seen.routes.push(taught);
        let learning = uplink(Gateway::Auto);
        assert_eq!(source_of(&learning, ipv6, &seen).as_deref(), Ok(own));

        seen.addresses[0].usable = false;
        for uplink in [asking(own), learning] {
            let found = source_of(&uplink, ipv6, &seen);
            assert_eq!(found, Err(Obstacle::NoAddress));
        }
    }
}

#[test]
fn an_own_address_that_may_not_be_used_yet_has_no_substitute_elsewhere() {
    let mut seen = snapshot(vec![]);
    seen.addresses = vec![elsewhere("2001:db8:5::1"), address("2001:db8:5::1", 64)];
    seen.addresses[1].usable = false;
    let found = source_of(&asking("2001:db8:5::1"), true, &seen);
    assert_eq!(found, Err(Obstacle::NoAddress));
}

#[test]
fn a_link_local_address_is_of_its_link() {
    let mut seen = snapshot(vec![]);
    seen.addresses = vec![elsewhere("fe80::5")];
    let found = source_of(&asking("fe80::5"), true, &seen);
    assert_eq!(found, Err(Obstacle::NoAddress));
}
