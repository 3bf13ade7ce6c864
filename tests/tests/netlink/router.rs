//! A router that translates addresses on two uplinks, a LAN host behind it, and the Internet before it: for real connections.

use std::time::Duration;

use pingu_tests::lab::{flows, namespace::Namespace, wait::wait_until};

/// Long beyond anything that a kernel on a busy machine needs.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Addresses of one far host: the routes to them differ.
pub const FAR: &str = "198.51.100.1";
pub const BY_UP1: &str = "198.51.100.2";
pub const FAR_V6: &str = "2001:db8:ffff::1";

/// The router's address on each uplink.
pub const UP0: &str = "10.0.0.2";
pub const UP1: &str = "10.1.0.2";

/// Somebody else's firewall: address translation of every kind, and tracking of all.
pub const FOREIGN: &str = "
table ip nat {
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        oifname \"up0\" snat to 10.0.0.2
        oifname \"up1\" masquerade
    }
}
table ip6 nat {
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        oifname { \"up0\", \"up1\" } masquerade
    }
}
table inet filter {
    chain input {
        type filter hook input priority filter; policy accept;
        ct state invalid drop
    }
}
";

/// The three of them.
pub struct Site {
    pub router: Namespace,
    pub lan: Namespace,
    pub internet: Namespace,
}

impl Site {
    /// Everything leaves by `up0`, and what goes to [`BY_UP1`] by `up1`. The Internet drops a source address that comes by the wrong
    /// wire, as providers do.
    pub fn new() -> Self {
        let site = Self {
            router: Namespace::new("router"),
            lan: Namespace::new("lan"),
            internet: Namespace::new("internet"),
        };
        for namespace in [&site.router, &site.internet] {
            namespace.sysctl("net.ipv4.ip_forward", "1");
            namespace.sysctl("net.ipv6.conf.all.forwarding", "1");
        }
        site.router.veth("lan0", &site.lan, "eth0");
        site.router.veth("up0", &site.internet, "p0");
        site.router.veth("up1", &site.internet, "p1");
        site.lan.ip_batch(
            "address add 192.168.1.5/24 dev eth0
             address add 2001:db8:aaaa::5/64 dev eth0 nodad
             route add default via 192.168.1.1
             route add ::/0 via 2001:db8:aaaa::1",
        );
        site.router.ip_batch(
            "address add 192.168.1.1/24 dev lan0
             address add 2001:db8:aaaa::1/64 dev lan0 nodad
             address add 10.0.0.2/24 dev up0
             address add 10.1.0.2/24 dev up1
             address add 2001:db8:0::2/64 dev up0 nodad
             address add 2001:db8:1::2/64 dev up1 nodad
             route add default via 10.0.0.1 metric 100
             route add 198.51.100.2 via 10.1.0.1
             route add ::/0 via 2001:db8::1 metric 100",
        );
        site.internet.ip_batch(
            "address add 10.0.0.1/24 dev p0
             address add 10.1.0.1/24 dev p1
             address add 2001:db8:0::1/64 dev p0 nodad
             address add 2001:db8:1::1/64 dev p1 nodad
             address add 198.51.100.1/32 dev lo
             address add 198.51.100.2/32 dev lo
             address add 2001:db8:ffff::1/128 dev lo nodad",
        );
        site.internet.nft(
            "table inet wires { chain wrong { type filter hook prerouting priority raw;
             iifname \"p0\" ip saddr != 10.0.0.0/24 drop\niifname \"p1\" ip saddr != 10.1.0.0/24 drop\n
             iifname \"p0\" ip6 saddr 2001:db8:1::/64 drop\niifname \"p1\" ip6 saddr 2001:db8:0::/64 drop\n}\n}",
        );
        site.router.nft(FOREIGN);
        flows::serve(&site.internet, [FAR, BY_UP1]);
        flows::serve(&site.lan, ["127.0.0.1", "192.168.1.5"]);
        flows::serve(&site.router, ["127.0.0.1", UP0]);
        site
    }

    /// All new flows leave by `up1`.
    pub fn fail_over(&self) {
        self.router
            .ip("route replace default via 10.1.0.1 metric 50");
        self.router
            .ip("-6 route replace default via 2001:db8:1::1 metric 50");
    }

    /// The router's connections, without what changes by the second.
    pub fn connections(&self) -> Vec<String> {
        flows::connections(&self.router)
    }

    /// Waits until there are so many connections, each confirmed from both ends, and gives all.
    pub fn settle(&self, count: usize) -> Vec<String> {
        wait_until("connections", DEADLINE, || {
            let lines = self.connections();
            let settled = lines.iter().filter(|line| flows::is_settled(line));
            if settled.count() == count && lines.len() == count {
                Ok(lines)
            } else {
                Err(format!("{lines:#?}"))
            }
        })
    }

    /// Everybody else's rules.
    pub fn foreign(&self) -> String {
        let all = self.router.run(&["nft", "list", "ruleset"]);
        let tables = all.split_inclusive("\n}\n");
        tables
            .filter(|table| !table.contains("table inet pingu "))
            .collect()
    }
}
