//! An Internet provider: a gateway on one wire to the router and one to the Internet, and the ways in which it fails.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::lab::{dhcp, namespace::Namespace, site};

/// A provider's interface to the router.
pub const ROUTER_SIDE: &str = "r0";

/// A provider's interface to the Internet.
pub(crate) const INTERNET_SIDE: &str = "i0";

/// The nftables table that holds the faults.
const FAULT: &str = "inet fault";

/// The one that counts.
const SEEN: &str = "inet seen";

/// The one of a captive portal.
const PORTAL: &str = "ip portal";

/// A provider and its wires.
pub struct Provider {
    dhcp: Option<dhcp::Server>,
    /// Where it lives.
    pub namespace: Namespace,
    index: usize,
    interface: String,
    gateway: Ipv4Addr,
    router_address: Ipv4Addr,
}

/// How many echo replies, or requests, a lossy provider saw and how many it dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replies {
    /// All that came by.
    pub seen: u64,
    /// Those of them that went no further.
    pub dropped: u64,
}

impl Provider {
    /// Builds provider number `index`, between the router's interface and the Internet, and the Internet's way back. The addresses of
    /// the gateway and of the router may be given.
    pub(crate) fn build(
        index: usize,
        interface: &str,
        wire: Option<(Ipv4Addr, Ipv4Addr)>,
        router: &Namespace,
        internet: &Namespace,
    ) -> Self {
        let namespace = Namespace::new(&format!("provider{index}"));
        let number = u8::try_from(index + 1).expect("a site has few uplinks");
        let (gateway, router_address) = wire.unwrap_or((
            Ipv4Addr::new(10, 0, number, 1),
            Ipv4Addr::new(10, 0, number, 2),
        ));
        site::forward(&namespace);
        // Without it a link that goes down and up again comes back without its IPv6 address.
        namespace.sysctl("net.ipv6.conf.all.keep_addr_on_down", "1");
        router.veth(interface, &namespace, ROUTER_SIDE);
        let internet_side = format!("p{index}");
        namespace.veth(INTERNET_SIDE, internet, &internet_side);
        let provider = Self {
            dhcp: None,
            namespace,
            index,
            interface: interface.to_owned(),
            gateway,
            router_address,
        };
        let (gateway_v6, router_v6) = (provider.gateway_v6(), provider.router_address_v6());
        provider.namespace.ip_batch(&format!(
            "address add {gateway}/24 dev {ROUTER_SIDE}\n\
             address add {gateway_v6}/64 dev {ROUTER_SIDE}\n\
             address add 10.255.{number}.2/24 dev {INTERNET_SIDE}\n\
             address add 2001:db8:f0{number:02x}::2/64 dev {INTERNET_SIDE}\n\
             route add default via 10.255.{number}.1\n\
             route add ::/0 via 2001:db8:f0{number:02x}::1\n"
        ));
        internet.ip_batch(&format!(
            "address add 10.255.{number}.1/24 dev {internet_side}\n\
             address add 2001:db8:f0{number:02x}::1/64 dev {internet_side}\n\
             route add {router_address}/32 via 10.255.{number}.2\n\
             route add {router_v6}/128 via 2001:db8:f0{number:02x}::2\n"
        ));
        provider
    }

    /// The router's interface to it.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Its address on the router's wire.
    pub fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// The router's address on that wire.
    pub fn router_address(&self) -> Ipv4Addr {
        self.router_address
    }

    /// Its IPv6 address on the router's wire.
    pub fn gateway_v6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, self.index as u16 + 1, 0, 0, 0, 0, 1)
    }

    /// The router's IPv6 address on that wire.
    pub fn router_address_v6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, self.index as u16 + 1, 0, 0, 0, 0, 2)
    }

    /// Gives the router its IPv4 address.
    #[track_caller]
    pub fn set_router_address(&self, router: &Namespace) {
        router.ip(&format!(
            "address add {}/24 dev {}",
            self.router_address, self.interface
        ));
    }

    /// Gives the router its IPv6 address.
    #[track_caller]
    pub fn set_router_address_v6(&self, router: &Namespace) {
        router.ip(&format!(
            "address add {}/64 dev {}",
            self.router_address_v6(),
            self.interface
        ));
    }

    /// Leaves a default route in the router as a DHCP client would.
    #[track_caller]
    pub fn leave_default(&self, router: &Namespace, metric: u32) {
        let (gateway, interface) = (self.gateway, &self.interface);
        router.ip(&format!(
            "route add default via {gateway} dev {interface} proto dhcp metric {metric}"
        ));
    }

    pub(crate) fn serve_dhcp(&mut self) {
        self.dhcp = Some(dhcp::Server::start(
            &self.namespace,
            ROUTER_SIDE,
            self.gateway,
            self.router_address,
        ));
    }

    /// Nothing passes in either direction any more, silently; the wire, the gateway and its DHCP server stay as they are.
    #[track_caller]
    pub fn black_hole(&self) {
        self.fault("chain forward { type filter hook forward priority 0; policy drop; }");
    }

    /// Drops this share of the echo replies on their way to the router, at random, and counts.
    #[track_caller]
    pub fn lose_replies(&self, percent: u8) {
        self.lose("echo-reply", percent);
    }

    /// Drops this share of the echo requests on their way from the router, at random, and counts.
    #[track_caller]
    pub fn lose_requests(&self, percent: u8) {
        self.lose("echo-request", percent);
    }

    fn lose(&self, kind: &str, percent: u8) {
        let chance = match percent {
            100.. => String::new(),
            percent => format!("numgen random mod 100 < {percent}"),
        };
        let rules: String = ["icmp", "icmpv6"]
            .map(|family| {
                format!(
                    "{family} type {kind} counter name seen\n\
                     {family} type {kind} {chance} counter name dropped drop\n"
                )
            })
            .concat();
        self.fault(&format!(
            "counter seen {{ }}\ncounter dropped {{ }}\nchain forward {{ type filter hook forward priority 0;\n{rules}}}"
        ));
    }

    /// Of so many echo replies in a row to the router, drops exactly the first so many.
    #[track_caller]
    pub fn lose_of_each(&self, lost: u32, of: u32) {
        self.fault(&format!(
            "chain forward {{ type filter hook forward priority 0;\n\
             icmp type echo-reply numgen inc mod {of} < {lost} drop\n}}"
        ));
    }

    /// Drops exactly the next so many echo replies to the router.
    #[track_caller]
    pub fn lose_first(&self, lost: u32) {
        self.lose_of_each(lost, u32::MAX);
    }

    /// Pings are lost in silence, and all else passes.
    #[track_caller]
    pub fn lose_pings(&self) {
        self.fault("chain forward { type filter hook forward priority 0; icmp type { echo-request, echo-reply } drop; }");
    }

    /// A portal, or a contract that has run out: pings are answered, and TCP is not.
    #[track_caller]
    pub fn refuse_tcp(&self, with_reset: bool) {
        let verdict = if with_reset {
            "reject with tcp reset"
        } else {
            "drop"
        };
        self.fault(&format!(
            "chain forward {{ type filter hook forward priority 0; meta l4proto tcp {verdict}; }}"
        ));
    }

    /// Counts the pings that pass, requests and replies, by their bytes from the IP header on.
    #[track_caller]
    pub fn count_pings(&self) {
        self.fault(
            "counter pings { }\nchain forward { type filter hook forward priority 0;\n\
             icmp type { echo-request, echo-reply } counter name pings\n}",
        );
    }

    /// What [`Provider::count_pings`] has counted: packets and bytes.
    #[track_caller]
    pub fn pings(&self) -> (u64, u64) {
        let listing = self
            .namespace
            .run(&["nft", "list", "counters", "table", "inet", "fault"]);
        let words: Vec<&str> = listing.split_whitespace().collect();
        let after = |name: &str| {
            let place = words.iter().position(|word| *word == name);
            let number = words.get(place.expect("nft prints a counter") + 1);
            number.and_then(|word| word.parse().ok()).expect("a number")
        };
        (after("packets"), after("bytes"))
    }

    /// Nothing passes to these addresses.
    #[track_caller]
    pub fn block(&self, addresses: &[Ipv4Addr]) {
        let set: Vec<String> = addresses.iter().map(Ipv4Addr::to_string).collect();
        self.fault(&format!(
            "chain forward {{ type filter hook forward priority 0; ip daddr {{ {} }} drop; }}",
            set.join(", ")
        ));
    }

    /// Ends the loss begun by one of these, but counts on: what is dropped after this call is nothing.
    #[track_caller]
    pub fn lose_no_more(&self) {
        self.namespace.nft(&format!("flush chain {FAULT} forward"));
    }

    /// What [`Provider::lose_replies`] or [`Provider::lose_requests`] did.
    #[track_caller]
    pub fn replies(&self) -> Replies {
        let listing = self
            .namespace
            .run(&["nft", "list", "counters", "table", "inet", "fault"]);
        let packets = |name: &str| {
            let (_, after) = listing
                .split_once(&format!("counter {name} "))
                .expect("the counter was made");
            let (_, number) = after
                .split_once("packets ")
                .expect("nft prints a counter's packets");
            number
                .split_whitespace()
                .next()
                .and_then(|word| word.parse().ok())
                .expect("nft prints a number")
        };
        Replies {
            seen: packets("seen"),
            dropped: packets("dropped"),
        }
    }

    /// Begins to count the packets from the router that nftables matches so.
    #[track_caller]
    pub fn count(&self, matching: &str) {
        self.namespace.nft(&format!(
            "table {SEEN}\ndelete table {SEEN}\ntable {SEEN} {{\ncounter seen {{ }}\n\
             chain prerouting {{ type filter hook prerouting priority -300;\n\
             iifname {ROUTER_SIDE} {matching} counter name seen\n}}\n}}\n"
        ));
    }

    /// How many of them there were since [`Provider::count`].
    #[track_caller]
    pub fn counted(&self) -> u64 {
        let listing = self
            .namespace
            .run(&["nft", "list", "counters", "table", "inet", "seen"]);
        let words: Vec<&str> = listing.split_whitespace().collect();
        let place = words.iter().position(|word| *word == "packets");
        place
            .and_then(|place| words.get(place + 1)?.parse().ok())
            .unwrap_or_else(|| panic!("no number in {listing}"))
    }

    /// Answers HTTP in place of every server, as a captive portal does: whatever the router asks on port 80 comes to this port here.
    #[track_caller]
    pub fn capture_http(&self, port: u16) {
        self.namespace.nft(&format!(
            "table {PORTAL}\ndelete table {PORTAL}\ntable {PORTAL} {{\n\
             chain prerouting {{ type nat hook prerouting priority dstnat;\n\
             iifname {ROUTER_SIDE} tcp dport 80 redirect to :{port}\n}}\n}}\n"
        ));
    }

    /// Lets the router through: somebody has logged in.
    #[track_caller]
    pub fn release_http(&self) {
        self.namespace
            .nft(&format!("table {PORTAL}\ndelete table {PORTAL}\n"));
    }

    /// Drops what is longer than so many bytes, in silence.
    #[track_caller]
    pub fn drop_longer_than(&self, bytes: u16) {
        self.fault(&format!(
            "chain forward {{ type filter hook forward priority 0; meta length > {bytes} drop; }}"
        ));
    }

    /// Takes every fault away.
    #[track_caller]
    pub fn repair(&self) {
        self.namespace
            .nft(&format!("table {FAULT}\ndelete table {FAULT}\n"));
    }

    /// Its end of the router's wire goes down or up, and with it the router's carrier.
    #[track_caller]
    pub fn set_carrier(&self, up: bool) {
        self.namespace.ip(&format!(
            "link set {ROUTER_SIDE} {}",
            if up { "up" } else { "down" }
        ));
    }

    /// Whether its gateway answers ARP requests.
    #[track_caller]
    pub fn set_arp(&self, answers: bool) {
        self.namespace.ip(&format!(
            "link set {ROUTER_SIDE} arp {}",
            if answers { "on" } else { "off" }
        ));
    }

    fn fault(&self, rules: &str) {
        self.namespace.nft(&format!(
            "table {FAULT}\ndelete table {FAULT}\ntable {FAULT} {{\n{rules}\n}}\n"
        ));
    }
}
