//! Somebody who uses the network: one echo request after the other, and what became of each.
#![expect(
    clippy::disallowed_methods,
    reason = "a user's packets live in real time"
)]

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{
        atomic::{AtomicU16, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use crate::lab::{
    namespace::Namespace,
    packet,
    raw_socket::RawSocket,
    worker::{Stop, Worker},
};

/// What a user would call lost.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Receiving gives up after so long to look whether a request is due.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Ten minutes of ten requests a second.
const PINGS_MAX: usize = 6000;

/// The first pinger's ICMP identifier; each further one is a flow of its own to whatever tracks connections.
const FIRST_IDENT: u16 = 0x7000;

const PAYLOAD_BYTES: usize = 56;

/// A running series of echo requests.
pub struct Pinger {
    _worker: Worker<()>,
    results: Receiver<Ping>,
}

/// One request, once its fate is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// When it was sent.
    pub sent: Instant,
    /// Its round-trip time; none where it was lost.
    pub rtt: Option<Duration>,
}

impl Pinger {
    /// Starts to ping from a namespace.
    pub fn start(namespace: &Namespace, destination: IpAddr, every: Duration) -> Self {
        let (sender, results) = sync_channel(PINGS_MAX);
        static PINGERS: AtomicU16 = AtomicU16::new(0);
        let ident = FIRST_IDENT.wrapping_add(PINGERS.fetch_add(1, Ordering::Relaxed));
        let worker = namespace.worker("pinger", move |stop| {
            Pinging {
                destination,
                ident,
                waiting: VecDeque::new(),
            }
            .run(every, stop, &sender);
        });
        Self {
            _worker: worker,
            results,
        }
    }

    /// Every request whose fate has been decided since the last call, in order of sending.
    pub fn decided(&self) -> Vec<Ping> {
        self.results.try_iter().collect()
    }
}

struct Pinging {
    destination: IpAddr,
    ident: u16,
    waiting: VecDeque<(u16, Ping)>,
}

impl Pinging {
    fn run(mut self, every: Duration, stop: &Stop, results: &SyncSender<Ping>) {
        let socket = RawSocket::icmp(self.destination, LOOK_EVERY.min(every))
            .expect("a raw socket can be opened");
        let mut sequence: u16 = 0;
        let mut due = Instant::now();
        while !stop.is_wanted() {
            if Instant::now() >= due {
                due += every;
                sequence = sequence.wrapping_add(1);
                let ipv6 = self.destination.is_ipv6();
                let message = packet::request_message(ipv6, self.ident, sequence, PAYLOAD_BYTES);
                // On veth the reply is there before the sending returns.
                self.waiting.push_back((
                    sequence,
                    Ping {
                        sent: Instant::now(),
                        rtt: None,
                    },
                ));
                // A request that cannot leave (no route) is a lost one.
                let _ = socket.send(&message);
            }
            let mut buffer = [0; 2048];
            // An error here is an ICMP error about an earlier request: that one is lost.
            if let Ok(Some(message)) = socket.receive(&mut buffer) {
                self.note_reply(message);
            }
            while let Some((_, first)) = self.waiting.front().filter(|(_, ping)| is_decided(ping)) {
                results.try_send(*first).expect("no test pings for so long");
                self.waiting.pop_front();
            }
        }
    }

    fn note_reply(&mut self, message: &[u8]) {
        let ipv4 = self.destination.is_ipv4();
        let icmp = if ipv4 {
            message.get(20..)
        } else {
            Some(message)
        };
        let Some(
            &[
                kind,
                _,
                _,
                _,
                ident_high,
                ident_low,
                sequence_high,
                sequence_low,
            ],
        ) = icmp.and_then(<[u8]>::first_chunk)
        else {
            return;
        };
        let expected_kind = if ipv4 { 0 } else { 129 };
        if kind != expected_kind || u16::from_be_bytes([ident_high, ident_low]) != self.ident {
            return;
        }
        let sequence = u16::from_be_bytes([sequence_high, sequence_low]);
        let waiting = self
            .waiting
            .iter_mut()
            .find(|(waiting, ping)| *waiting == sequence && ping.rtt.is_none());
        if let Some((_, ping)) = waiting {
            ping.rtt = Some(ping.sent.elapsed());
        }
    }
}

fn is_decided(ping: &Ping) -> bool {
    ping.rtt.is_some() || ping.sent.elapsed() > TIMEOUT
}
