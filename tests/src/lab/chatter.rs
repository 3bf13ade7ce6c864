//! Somebody whose traffic is only there to be counted: datagrams to and fro, and TCP connections that are made and closed.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use crate::lab::{flows::PORT, namespace::Namespace, worker::Worker};

/// A connection that is not there by then has failed; short, so that a failing one is soon followed by the next.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);

/// Somebody who talks. Dropped, they fall silent.
pub struct Chatter {
    _worker: Worker<()>,
}

impl Chatter {
    /// Sends a datagram to an echo server of [`crate::lab::flows`] again and again, whether it answers or not.
    pub fn datagrams(from: &Namespace, to: IpAddr, every: Duration) -> Self {
        let worker = from.worker("datagrams", move |stop| {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket can be opened");
            socket.set_nonblocking(true).expect("a socket can be set");
            let to = SocketAddr::new(to, PORT);
            let mut answer = [0; 64];
            while !stop.is_wanted() {
                // What cannot leave or is not answered is what the tests are about.
                let _ = socket.send_to(b"?", to);
                while socket.recv_from(&mut answer).is_ok() {}
                std::thread::sleep(every);
            }
        });
        Self { _worker: worker }
    }

    /// Connects to an echo server again and again, whether it answers or not.
    pub fn connections(from: &Namespace, to: IpAddr, every: Duration) -> Self {
        let worker = from.worker("connections", move |stop| {
            let to = SocketAddr::new(to, PORT);
            while !stop.is_wanted() {
                match TcpStream::connect_timeout(&to, CONNECT_TIMEOUT) {
                    Ok(_) => {}
                    Err(error) => assert_ne!(
                        error.kind(),
                        ErrorKind::AddrInUse,
                        "more connections than ports"
                    ),
                }
                std::thread::sleep(every);
            }
        });
        Self { _worker: worker }
    }
}
