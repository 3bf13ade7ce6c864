//! Deleting the connections of one uplink, real ones, and no other.

use std::{net::UdpSocket, time::Duration};

use pingu::{
    config::FirewallMark,
    netlink::conntrack::{Conntrack, ConntrackError, Deleted, Selector},
};

use pingu_tests::lab::flows::{Tcp, Udp};

use crate::router::{BY_UP1, DEADLINE, FAR, FAR_V6, Site, UP0, UP1};

/// Deletes in the router, on a runtime like the daemon's, whose timer must go on meanwhile.
fn delete(site: &Site, selector: Selector) -> Result<Deleted, ConntrackError> {
    site.router.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let conntrack = Conntrack::new().unwrap();
            let deletion = conntrack.delete(selector);
            tokio::time::timeout(DEADLINE, deletion).await.unwrap()
        })
    })
}

fn of_up0() -> Selector {
    Selector {
        mark: None,
        addresses: vec![UP0.parse().unwrap(), "2001:db8::2".parse().unwrap()],
        inside: vec![
            "192.168.1.0/24".parse().unwrap(),
            "2001:db8:aaaa::/64".parse().unwrap(),
        ],
    }
}

fn all(entries: u64) -> Deleted {
    let offloaded = 0;
    Deleted { entries, offloaded }
}

#[test]
fn a_dead_uplink_s_connections_go_and_all_others_stay_as_they_are() {
    let site = Site::new();
    let tcp = |from, to| Tcp::connect(from, to);
    let udp = |from, to| Udp::connect(from, to);
    let Site {
        router,
        lan,
        internet,
    } = &site;
    let _over_up0 = (
        [tcp(lan, FAR), tcp(lan, FAR_V6), tcp(router, FAR)],
        // In over the uplink.
        tcp(internet, UP0),
        // To its own network.
        tcp(lan, "10.0.0.1"),
    );
    let (moving, _own) = (udp(lan, FAR), udp(router, FAR));
    let before = site.settle(7);
    let _others = (
        [tcp(lan, BY_UP1), tcp(router, BY_UP1), tcp(internet, UP1)],
        // Within the router and the LAN, by the dead uplink's address and by others.
        [tcp(lan, UP0), tcp(lan, "192.168.1.1"), tcp(router, UP0)],
        tcp(router, "127.0.0.1"),
    );
    let _others_udp = (udp(lan, BY_UP1), udp(router, "127.0.0.1"));
    let both = site.settle(16);
    let others: Vec<String> = both
        .into_iter()
        .filter(|line| !before.contains(line))
        .collect();
    assert_eq!(others.len(), 9);
    assert_eq!(moving.seen_as().to_string(), UP0);

    site.fail_over();
    assert_eq!(delete(&site, of_up0()).unwrap(), all(7));
    assert_eq!(site.connections(), others);
    assert_eq!(delete(&site, of_up0()).unwrap(), all(0));
    // What the sender goes on with is translated anew; it would have left with the dead uplink's address.
    assert_eq!(moving.seen_as().to_string(), UP1);
    assert_eq!(delete(&site, Selector::default()).unwrap(), all(0));
}

#[test]
fn a_mark_tells_connections_apart_bit_by_bit() {
    let site = Site::new();
    site.router.nft(
        "table inet marks { chain marks { type filter hook postrouting priority mangle;
         udp dport 7 ip daddr 198.51.100.1 ct mark set 0x1103\n
         udp dport 7 ip daddr 198.51.100.2 ct mark set 0x1203\n
         tcp dport 7 ip daddr 198.51.100.1 ct mark set 0x0100\n}\n}",
    );
    let _marked = [
        Udp::connect(&site.lan, FAR),
        Udp::connect(&site.lan, BY_UP1),
    ];
    let _alike = Tcp::connect(&site.lan, FAR);
    let _not = Tcp::connect(&site.lan, BY_UP1);
    let before = site.settle(4);
    let by = |value, mask| Selector {
        mark: Some(FirewallMark { value, mask }),
        ..Selector::default()
    };
    assert_eq!(delete(&site, by(0x1100, u32::MAX)).unwrap(), all(0));
    assert_eq!(delete(&site, by(0x300, 0xf00)).unwrap(), all(0));
    assert_eq!(site.connections(), before);
    assert_eq!(delete(&site, by(0x100, 0xf00)).unwrap(), all(2));
    let left = site.connections();
    let expected: Vec<&String> = before.iter().filter(|line| line.contains(BY_UP1)).collect();
    assert_eq!(left.iter().collect::<Vec<_>>(), expected);
    assert_eq!(delete(&site, by(0x1203, u32::MAX)).unwrap(), all(1));
    assert_eq!(site.connections().len(), 1);
}

/// The same addresses and ports, once in a zone and once in none: only one of them has the mark.
#[test]
fn a_connection_is_deleted_in_its_own_zone() {
    let site = Site::new();
    let flow = Udp::connect(&site.router, FAR);
    let before = site.settle(1);
    site.router.nft(
        "table ip zones { chain out { type filter hook output priority raw; udp dport 7 ct zone set 5; }
         chain in { type filter hook prerouting priority raw; udp sport 7 ct zone set 5; }
         chain post { type filter hook postrouting priority mangle; udp dport 7 ct mark set 0x9; }\n}",
    );
    flow.seen_as();
    let both = site.settle(2);
    assert!(both.iter().any(|line| line.contains("zone=5")), "{both:?}");
    let mark = Some(FirewallMark {
        value: 9,
        mask: u32::MAX,
    });
    let by_mark = Selector {
        mark,
        ..Selector::default()
    };
    assert_eq!(delete(&site, by_mark).unwrap(), all(1));
    assert_eq!(site.connections(), before);
    assert_eq!(delete(&site, of_up0()).unwrap(), all(1));
}

/// Flows of a hundred thousand ports, by two sockets.
const MANY: u64 = 100_000;

#[test]
fn a_hundred_thousand_connections_go_while_the_loop_goes_on() {
    let site = Site::new();
    let _other = Tcp::connect(&site.lan, BY_UP1);
    let before = site.settle(1);
    let sockets: [UdpSocket; 2] =
        std::array::from_fn(|_| site.router.enter(|| UdpSocket::bind((UP0, 0)).unwrap()));
    // Nothing comes back.
    site.internet.ip("link set p0 down");
    site.router
        .ip("neighbour replace 10.0.0.1 lladdr 02:00:00:00:00:01 dev up0 nud permanent");
    for socket in &sockets {
        for port in 1..=(MANY / 2) as u16 {
            socket.send_to(b"?", (FAR, port)).unwrap();
        }
    }
    let count = site.router.run(&["conntrack", "-C"]);
    assert_eq!(count.trim(), (MANY + 1).to_string());
    let (deleted, ticks) = site.router.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let conntrack = Conntrack::new().unwrap();
            // Two that wait together share one look, and an entry is counted once.
            let deletions = [conntrack.delete(of_up0()), conntrack.delete(of_up0())];
            let [first, second] = deletions;
            let both = async { (first.await.unwrap(), second.await.unwrap()) };
            let mut both = std::pin::pin!(tokio::time::timeout(DEADLINE, both));
            let mut ticker = tokio::time::interval(Duration::from_millis(1));
            let mut ticks = 0;
            loop {
                tokio::select! {
                    biased;
                    done = &mut both => break (done.unwrap(), ticks),
                    _ = ticker.tick() => ticks += 1,
                }
            }
        })
    });
    assert_eq!(deleted.0.entries + deleted.1.entries, MANY);
    assert!(ticks > 3, "{ticks}");
    assert_eq!(site.connections(), before);
}
