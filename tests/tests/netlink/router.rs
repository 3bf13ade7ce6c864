//! A router that translates addresses on two uplinks, a LAN host behind it, and the Internet before it: for real connections.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use pingu_tests::lab::{namespace::Namespace, wait::wait_until};

/// Long beyond anything that a kernel on a busy machine needs.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Addresses of one far host: the routes to them differ.
pub const FAR: &str = "198.51.100.1";
pub const BY_UP1: &str = "198.51.100.2";
pub const FAR_V6: &str = "2001:db8:ffff::1";

/// The router's address on each uplink.
pub const UP0: &str = "10.0.0.2";
pub const UP1: &str = "10.1.0.2";

/// The far host's echo servers: one for TCP and one for UDP on the same port.
const PORT: u16 = 7;

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
        serve(&site.internet, [FAR, BY_UP1]);
        serve(&site.lan, ["127.0.0.1", "192.168.1.5"]);
        serve(&site.router, ["127.0.0.1", UP0]);
        site
    }

    /// All new flows leave by `up1`.
    pub fn fail_over(&self) {
        self.router
            .ip("route replace default via 10.1.0.1 metric 50");
        self.router
            .ip("-6 route replace default via 2001:db8:1::1 metric 50");
    }

    /// The router's connections, by their ids, as `conntrack` shows them; without what changes by the second.
    pub fn connections(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for family in ["ipv4", "ipv6"] {
            let list = ["conntrack", "-L", "-f", family, "-o", "id,extended"];
            lines.extend(self.router.run(&list).lines().map(settled));
        }
        lines.sort();
        lines
    }

    /// Waits until there are so many connections, each confirmed from both ends, and gives all.
    pub fn settle(&self, count: usize) -> Vec<String> {
        wait_until("connections", DEADLINE, || {
            let lines = self.connections();
            let is_settled = |line: &&String| {
                let is_assured = line.contains(" ESTABLISHED ") && line.contains(" [ASSURED] ");
                is_assured || (line.contains(" udp ") && !line.contains(" [UNREPLIED] "))
            };
            if lines.iter().filter(is_settled).count() == count && lines.len() == count {
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

/// A connection's line without its timeout, which is the fifth word, and its use count.
fn settled(line: &str) -> String {
    let has_timeout = line.contains(" tcp ") || line.contains(" udp ");
    let words = line.split_whitespace().enumerate();
    let passing =
        |place: usize, word: &str| (has_timeout && place == 4) || word.starts_with("use=");
    let lasting = words.filter(|(place, word)| !passing(*place, word));
    lasting.map(|(_, word)| word).collect::<Vec<_>>().join(" ")
}

/// Starts the echo servers, which end with the process: for UDP one at each address, so that it answers from there.
fn serve(namespace: &Namespace, addresses: [&str; 2]) {
    let (tcp, udp) = namespace.enter(|| {
        let udp = addresses.map(|ip| UdpSocket::bind((ip, PORT)).unwrap());
        (TcpListener::bind(("::", PORT)).unwrap(), udp)
    });
    std::thread::spawn(move || {
        for connection in tcp.incoming() {
            std::thread::spawn(move || echo(connection.unwrap()));
        }
    });
    for socket in udp {
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                // A peer that has gone is none of this test's questions.
                let _ = socket.send_to(peer.to_string().as_bytes(), peer);
            }
        });
    }
}

/// Answers each byte with the peer's address, in 64 bytes.
fn echo(mut connection: TcpStream) {
    let peer = connection.peer_addr().unwrap().to_string();
    let mut byte = [0];
    while connection.read_exact(&mut byte).is_ok() {
        if connection
            .write_all(format!("{peer:64}").as_bytes())
            .is_err()
        {
            break;
        }
    }
}

/// A connection over TCP.
pub struct Tcp(TcpStream);

impl Tcp {
    pub fn connect(from: &Namespace, to: &str) -> Self {
        let to = SocketAddr::new(to.parse().unwrap(), PORT);
        let stream = from.enter(|| TcpStream::connect_timeout(&to, DEADLINE).unwrap());
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut tcp = Self(stream);
        tcp.seen_as();
        tcp
    }

    /// Exchanges data, and tells which address the other end sees.
    pub fn seen_as(&mut self) -> IpAddr {
        self.0.write_all(b"?").unwrap();
        let mut answer = [0; 64];
        self.0.read_exact(&mut answer).unwrap();
        host(&answer)
    }
}

/// A flow over UDP.
pub struct Udp(pub UdpSocket);

impl Udp {
    pub fn connect(from: &Namespace, to: &str) -> Self {
        let socket = from.enter(|| UdpSocket::bind(("0.0.0.0", 0)).unwrap());
        socket
            .connect((to.parse::<IpAddr>().unwrap(), PORT))
            .unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let udp = Self(socket);
        udp.seen_as();
        udp
    }

    /// Exchanges a datagram, and tells which address the other end sees.
    pub fn seen_as(&self) -> IpAddr {
        self.0.send(b"?").unwrap();
        let mut answer = [0; 64];
        let len = self.0.recv(&mut answer).unwrap();
        host(&answer[..len])
    }
}

fn host(answer: &[u8]) -> IpAddr {
    let text = std::str::from_utf8(answer).unwrap();
    let ip = text.trim().parse::<SocketAddr>().unwrap().ip();
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}
