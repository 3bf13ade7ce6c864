//! What should be served, and by which hook, without a kernel.

use super::*;

fn link(ifindex: u32, name: &str, layer: LinkLayer) -> Link {
    Link {
        ifindex: Ifindex(ifindex),
        name: name.to_owned(),
        alternative_names: vec![format!("{name}-too")],
        layer,
        admin_up: true,
        carrier: true,
        mtu_bytes: 1500,
    }
}

fn address(ifindex: u32, address: &str, usable: bool) -> Address {
    Address {
        ifindex: Ifindex(ifindex),
        address: address.parse().unwrap(),
        prefix_len: 24,
        global: true,
        usable,
        secondary: false,
    }
}

#[test]
fn usable_addresses_of_the_named_interfaces_are_served() {
    let links = [
        link(1, "lo", LinkLayer::Ethernet([0; 6])),
        link(2, "wan0", LinkLayer::Ethernet([2; 6])),
        link(3, "wan1", LinkLayer::Ethernet([3; 6])),
        link(4, "tun0", LinkLayer::Bare),
        link(5, "odd0", LinkLayer::Other(999)),
    ];
    let addresses = [
        address(1, "127.0.0.1", true),
        address(2, "192.0.2.1", true),
        address(2, "2001:db8::1", false),
        address(2, "fe80::1", true),
        address(3, "198.51.100.1", true),
        address(4, "10.0.0.1", true),
        address(5, "10.0.0.2", true),
    ];
    let names = ["wan0", "tun0-too", "wan0-too", "odd0", "none", "lo"].map(str::to_owned);
    let found = desired(&names, &links, &addresses);
    let summary: Vec<(&str, LinkLayer, Vec<String>)> = found
        .iter()
        .map(|one| {
            let addresses = one.addresses.iter().map(IpAddr::to_string);
            (one.interface.as_str(), one.layer, addresses.collect())
        })
        .collect();
    assert_eq!(
        summary,
        [
            (
                "wan0",
                LinkLayer::Ethernet([2; 6]),
                vec!["192.0.2.1".to_owned(), "fe80::1".to_owned()]
            ),
            ("tun0", LinkLayer::Bare, vec!["10.0.0.1".to_owned()]),
            ("odd0", LinkLayer::Other(999), vec!["10.0.0.2".to_owned()]),
            ("lo", LinkLayer::Ethernet([0; 6]), vec![]),
        ]
    );
}

#[test]
fn xdp_is_taken_where_replies_are_sure_to_leave_by_it() {
    let driver = |name: &str, features| Driver {
        name: Some(name.to_owned()),
        features,
    };
    let takes = |choice, driver: Driver| xdp_fault(choice, &driver).is_none();
    for choice in [HookChoice::Auto, HookChoice::Xdp] {
        assert!(takes(choice, driver("ice", Some(XDP_BASIC))));
        assert!(
            takes(choice, driver("ice", None)),
            "an old kernel does not say"
        );
        assert!(takes(choice, Driver::default()));
        assert!(!takes(choice, driver("dummy", Some(0))));
        assert!(!takes(choice, driver("veth", Some(XDP_BASIC))));
        assert!(!takes(choice, driver("veth", None)));
    }
    let ready = || driver("veth", Some(XDP_BASIC | XDP_TRANSMITS));
    assert!(takes(HookChoice::Xdp, ready()));
    assert!(!takes(HookChoice::Auto, ready()), "it may end at any time");
}

use driver::{XDP_BASIC, XDP_TRANSMITS};
