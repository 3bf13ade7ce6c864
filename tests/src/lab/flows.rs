//! Real connections over TCP and UDP: echo servers that tell whom they see, flows to them, and what a router tracks of these.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use crate::lab::namespace::Namespace;

/// The echo servers' port, for TCP and for UDP.
pub const PORT: u16 = 7;

/// Long beyond anything that an exchange takes on a busy machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of an answer: enough for any address and port as text.
const ANSWER_BYTES: usize = 64;

/// A connection over TCP.
pub struct Tcp(TcpStream);

/// A flow over UDP.
pub struct Udp(pub UdpSocket);

impl Tcp {
    /// Connects to an echo server and exchanges data.
    #[track_caller]
    pub fn connect(from: &Namespace, to: &str) -> Self {
        let to = SocketAddr::new(to.parse().expect("an address"), PORT);
        let stream = from.enter(|| TcpStream::connect_timeout(&to, ANSWER_TIMEOUT));
        let stream = stream.unwrap_or_else(|error| panic!("cannot connect to {to}: {error}"));
        stream
            .set_read_timeout(Some(ANSWER_TIMEOUT))
            .expect("not zero");
        let mut tcp = Self(stream);
        tcp.seen_as();
        tcp
    }

    /// Exchanges data, and tells which address the other end sees.
    #[track_caller]
    pub fn seen_as(&mut self) -> IpAddr {
        self.try_seen_as().expect("the connection lives")
    }

    /// The same for a connection that may have ended.
    pub fn try_seen_as(&mut self) -> io::Result<IpAddr> {
        self.0.write_all(b"?")?;
        let mut answer = [0; ANSWER_BYTES];
        self.0.read_exact(&mut answer)?;
        Ok(host(&answer))
    }
}

impl Udp {
    /// Begins a flow to an echo server, and exchanges datagrams.
    #[track_caller]
    pub fn connect(from: &Namespace, to: &str) -> Self {
        Self::connect_as(from, Ipv4Addr::UNSPECIFIED, to)
    }

    /// The same from a given address.
    #[track_caller]
    pub fn connect_as(from: &Namespace, source: Ipv4Addr, to: &str) -> Self {
        let socket = from.enter(|| UdpSocket::bind((source, 0)).expect("an own address"));
        let to: IpAddr = to.parse().expect("an address");
        socket
            .connect((to, PORT))
            .unwrap_or_else(|error| panic!("cannot connect to {to}: {error}"));
        socket
            .set_read_timeout(Some(ANSWER_TIMEOUT))
            .expect("not zero");
        let udp = Self(socket);
        udp.seen_as();
        udp
    }

    /// Exchanges a datagram, and tells which address the other end sees.
    #[track_caller]
    pub fn seen_as(&self) -> IpAddr {
        self.0.send(b"?").expect("there is a way to the other end");
        let mut answer = [0; ANSWER_BYTES];
        let len = self.0.recv(&mut answer).expect("the other end answers");
        host(&answer[..len])
    }
}

/// Starts echo servers in a namespace, which end with the process: one for TCP, and for UDP one at each address, so that it answers
/// from there.
#[track_caller]
pub fn serve<'a>(namespace: &Namespace, addresses: impl IntoIterator<Item = &'a str> + Send) {
    let (tcp, udp) = namespace.enter(|| {
        let udp = addresses.into_iter().map(|address| {
            UdpSocket::bind((address, PORT))
                .unwrap_or_else(|error| panic!("cannot serve at {address}: {error}"))
        });
        let udp: Vec<UdpSocket> = udp.collect();
        let tcp = TcpListener::bind(("::", PORT)).expect("the port is free in a lab");
        (tcp, udp)
    });
    std::thread::spawn(move || {
        for connection in tcp.incoming() {
            std::thread::spawn(move || echo(connection.expect("a connection can be accepted")));
        }
    });
    for socket in udp {
        std::thread::spawn(move || {
            let mut buffer = [0; ANSWER_BYTES];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                // A peer that has gone is none of a test's questions.
                let _ = socket.send_to(peer.to_string().as_bytes(), peer);
            }
        });
    }
}

/// What a router tracks, by ids, as `conntrack` shows it; without what changes by the second.
#[track_caller]
pub fn connections(router: &Namespace) -> Vec<String> {
    let mut lines = Vec::new();
    for family in ["ipv4", "ipv6"] {
        let list = ["conntrack", "-L", "-f", family, "-o", "id,extended"];
        lines.extend(router.run(&list).lines().map(lasting));
    }
    lines.sort();
    lines
}

/// Whether a connection of [`connections`] is confirmed from both ends.
pub fn is_settled(line: &str) -> bool {
    let is_assured = line.contains(" ESTABLISHED ") && line.contains(" [ASSURED] ");
    is_assured || (line.contains(" udp ") && !line.contains(" [UNREPLIED] "))
}

/// A connection's line without its timeout, which is the fifth word, and its use count.
fn lasting(line: &str) -> String {
    let has_timeout = line.contains(" tcp ") || line.contains(" udp ");
    let words = line.split_whitespace().enumerate();
    let passing =
        |place: usize, word: &str| (has_timeout && place == 4) || word.starts_with("use=");
    let lasting = words.filter(|(place, word)| !passing(*place, word));
    lasting.map(|(_, word)| word).collect::<Vec<_>>().join(" ")
}

/// Answers each byte with the peer's address.
fn echo(mut connection: TcpStream) {
    let Ok(peer) = connection.peer_addr() else {
        return;
    };
    let answer = format!("{:ANSWER_BYTES$}", peer.to_string());
    let mut byte = [0];
    while connection.read_exact(&mut byte).is_ok() {
        if connection.write_all(answer.as_bytes()).is_err() {
            break;
        }
    }
}

fn host(answer: &[u8]) -> IpAddr {
    let text = std::str::from_utf8(answer).expect("the servers send text");
    let peer: SocketAddr = text.trim().parse().expect("the servers send an address");
    match peer.ip() {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(peer.ip(), IpAddr::V4),
        v4 @ IpAddr::V4(_) => v4,
    }
}
