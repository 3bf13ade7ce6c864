//! Somebody on a provider's wire who wants a dead target to look alive.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use crate::lab::{
    packet::{self, ECHO_HEADER_BYTES, ETHERNET_BYTES, Echo},
    provider::{Provider, ROUTER_SIDE},
    raw_socket::RawSocket,
    site::Site,
    worker::{Stop, Worker},
};

/// How long the forger waits for a frame before it looks whether it should stop.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How many replies are remembered, to be replayed in turns.
const REMEMBERED_MAX: usize = 64;

/// How many replays follow each request.
const REPLAYS: usize = 2;

/// Bits of the slot's number (32) and the cookie (128) at the beginning of the payload; each is flipped in turn.
const SECRET_BITS: u64 = 32 + 128;

/// What the forger does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Deed {
    /// Remembers true replies that pass by.
    Remember,
    /// Answers each request with every forgery there is.
    Forge,
    /// Answers each request as the target would: proof that its frames arrive.
    Answer,
}

/// How many frames of each kind were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Old replies, as they were.
    pub replayed: u64,
    /// Replies right but for one bit of the secret.
    pub one_bit_wrong: u64,
    /// Replies with the request's identifier and sequence number, and a payload as ping's.
    pub foreign: u64,
    /// Right replies, on another uplink.
    pub on_other_uplink: u64,
    /// Right replies, from another source.
    pub from_other_source: u64,
    /// Right replies.
    pub right: u64,
}

/// A running forger.
pub struct Forger {
    deed: Arc<AtomicU8>,
    worker: Worker<Sent>,
}

impl Forger {
    /// Starts on the wire of one uplink; replies "on the other uplink" go there.
    #[track_caller]
    pub fn start(site: &Site, victim: usize, other: usize) -> Self {
        let own_wire = wire(&site.providers[victim]);
        let other_wire = wire(&site.providers[other]);
        let other_router_mac = site.router.mac(site.providers[other].interface());
        let deed = Arc::new(AtomicU8::new(Deed::Remember as u8));
        let seen_inside = Arc::clone(&deed);
        let worker = Worker::start("forger", move |stop| {
            let forge = Forge {
                own_wire,
                other_wire,
                other_router_mac,
                remembered: Vec::new(),
                sent: Sent::default(),
            };
            forge.run(&seen_inside, stop)
        });
        Self { deed, worker }
    }

    /// Does something else from here on.
    pub fn turn_to(&self, deed: Deed) {
        self.deed.store(deed as u8, Ordering::Relaxed);
    }

    /// Stops, and tells what was sent.
    pub fn finish(self) -> Sent {
        self.worker.finish()
    }
}

fn wire(provider: &Provider) -> RawSocket {
    let ifindex = provider.namespace.ifindex(ROUTER_SIDE);
    provider
        .namespace
        .enter(|| RawSocket::frames(ifindex, LOOK_EVERY))
        .expect("a packet socket can be opened")
}

struct Forge {
    own_wire: RawSocket,
    other_wire: RawSocket,
    other_router_mac: [u8; 6],
    remembered: Vec<Vec<u8>>,
    sent: Sent,
}

impl Forge {
    fn run(mut self, deed: &AtomicU8, stop: &Stop) -> Sent {
        let mut buffer = [0; 2048];
        while !stop.is_wanted() {
            let Ok(Some(frame)) = self.own_wire.receive(&mut buffer) else {
                continue;
            };
            let frame = frame.to_vec();
            let Some(echo) = frame.get(ETHERNET_BYTES..).and_then(packet::echo) else {
                continue;
            };
            let deed = deed.load(Ordering::Relaxed);
            if deed == Deed::Remember as u8 {
                if echo.reply && self.remembered.len() < REMEMBERED_MAX {
                    self.remembered.push(frame);
                }
            } else if echo.reply {
                // One of its own frames, as the socket shows them.
            } else if deed == Deed::Forge as u8 {
                self.forge(&frame, &echo);
            } else {
                send(&self.own_wire, &reply_to(&frame), &mut self.sent.right);
            }
        }
        self.sent
    }

    fn forge(&mut self, request: &[u8], echo: &Echo) {
        for _ in 0..REPLAYS.min(self.remembered.len()) {
            let turn = self.sent.replayed as usize % self.remembered.len();
            send(
                &self.own_wire,
                &self.remembered[turn],
                &mut self.sent.replayed,
            );
        }
        let reply = reply_to(request);
        let payload = ETHERNET_BYTES + echo.icmp_offset + ECHO_HEADER_BYTES;

        let bit = (self.sent.one_bit_wrong % SECRET_BITS) as usize;
        let mut wrong = reply.clone();
        wrong[payload + bit / 8] ^= 1 << (bit % 8);
        packet::fix_icmp_checksum(&mut wrong[ETHERNET_BYTES..]);
        send(&self.own_wire, &wrong, &mut self.sent.one_bit_wrong);

        let mut foreign = reply.clone();
        for (index, byte) in foreign[payload..].iter_mut().enumerate() {
            *byte = index as u8;
        }
        packet::fix_icmp_checksum(&mut foreign[ETHERNET_BYTES..]);
        send(&self.own_wire, &foreign, &mut self.sent.foreign);

        let mut astray = reply.clone();
        astray[..6].copy_from_slice(&self.other_router_mac);
        send(&self.other_wire, &astray, &mut self.sent.on_other_uplink);

        let mut stranger = reply;
        // The last byte of the IPv4 source; the header's checksum takes up the difference.
        let (source_end, header_checksum) = (ETHERNET_BYTES + 15, ETHERNET_BYTES + 10);
        stranger[source_end] = stranger[source_end].wrapping_add(1);
        let old = u16::from_be_bytes([stranger[header_checksum], stranger[header_checksum + 1]]);
        // RFC 1624: one more in a word is one less in the complement of the sum.
        let new = if old == 0 { 0xfffe } else { old - 1 };
        stranger[header_checksum..header_checksum + 2].copy_from_slice(&new.to_be_bytes());
        send(&self.own_wire, &stranger, &mut self.sent.from_other_source);
    }
}

fn send(wire: &RawSocket, frame: &[u8], count: &mut u64) {
    wire.send(frame)
        .expect("the wire is up while a forger works");
    *count += 1;
}

/// The frame by which the target would have answered.
fn reply_to(request: &[u8]) -> Vec<u8> {
    let mut reply = request.to_vec();
    let (to, from) = reply[..12].split_at_mut(6);
    to.swap_with_slice(from);
    packet::turn_around(&mut reply[ETHERNET_BYTES..]);
    reply
}
