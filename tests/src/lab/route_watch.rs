//! What the kernel's route to one address is, instant by instant: `ip route get` in a loop, without the process.
#![expect(
    clippy::disallowed_methods,
    reason = "changes are stamped with the time at which they were seen"
)]

use std::{
    net::Ipv4Addr,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

use crate::lab::{
    namespace::Namespace,
    raw_socket::RawSocket,
    wait::wait_until,
    worker::{Stop, Worker},
};

/// More changes than any test makes: past it the watch itself would be in doubt.
const CHANGES_MAX: usize = 4096;

/// The kernel answers at once; a longer silence means that it does not answer at all.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

const NLMSG_HEADER_BYTES: usize = 16;
const RTMSG_BYTES: usize = 12;
const ATTRIBUTE_HEADER_BYTES: usize = 4;

/// How often the watch looks.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// Without a pause: some hundred thousand looks a second, at the expense of a core.
    Tight,
    /// With a pause.
    Every(Duration),
}

/// A watch on the route to one address.
pub struct RouteWatch {
    worker: Worker<Count>,
    changes: Receiver<Change>,
}

/// The way out was another one than at the look before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// When it was seen.
    pub at: Instant,
    /// The interface's number; none where there was no route.
    pub ifindex: Option<u32>,
}

/// How often the watch looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Looks in all.
    pub looks: u64,
    /// Looks that found no route.
    pub without_route: u64,
    /// The longest time between two looks: a gap shorter than this may have been missed there.
    pub blind_max: Duration,
}

/// All that a watch saw.
#[derive(Clone, Debug)]
pub struct Sightings {
    /// How often it looked.
    pub count: Count,
    /// Every change not yet taken from [`RouteWatch::changes`]; the very first one is what it found at its start.
    pub changes: Vec<Change>,
}

impl Sightings {
    /// When the route first left by this interface at or after `since`.
    pub fn first_by(&self, ifindex: u32, since: Instant) -> Option<Instant> {
        self.changes
            .iter()
            .find(|change| change.at >= since && change.ifindex == Some(ifindex))
            .map(|change| change.at)
    }
}

impl RouteWatch {
    /// Starts watching, and returns once it has looked for the first time.
    pub fn start(namespace: &Namespace, destination: Ipv4Addr, pace: Pace) -> Self {
        let (sender, changes) = sync_channel(CHANGES_MAX);
        let (ready, started) = sync_channel(1);
        let worker = namespace.worker("route-watch", move |stop| {
            let socket =
                RawSocket::rtnetlink(ANSWER_TIMEOUT).expect("a netlink socket can be opened");
            let first = look(&socket, destination, 1);
            send(
                &sender,
                Change {
                    at: Instant::now(),
                    ifindex: first,
                },
            );
            ready.send(()).expect("the starter waits");
            watch(&socket, destination, pace, stop, &sender, first)
        });
        started.recv().expect("the watch has started");
        Self { worker, changes }
    }

    /// The changes as they come.
    pub fn changes(&self) -> &Receiver<Change> {
        &self.changes
    }

    /// Stops, and tells what was seen.
    pub fn finish(self) -> Sightings {
        let count = self.worker.finish();
        Sightings {
            count,
            changes: self.changes.try_iter().collect(),
        }
    }
}

/// The interface by which the kernel would send to an address, asked once.
pub fn way_to(namespace: &Namespace, destination: Ipv4Addr) -> Option<u32> {
    namespace.enter(|| {
        let socket = RawSocket::rtnetlink(ANSWER_TIMEOUT).expect("a netlink socket can be opened");
        look(&socket, destination, 1)
    })
}

/// Waits until the kernel sends to an address by this interface.
#[track_caller]
pub fn wait_until_by(
    namespace: &Namespace,
    destination: Ipv4Addr,
    ifindex: u32,
    deadline: Duration,
) {
    wait_until(
        &format!("the route to {destination} to leave by {ifindex}"),
        deadline,
        || {
            let way = way_to(namespace, destination);
            if way == Some(ifindex) {
                Ok(())
            } else {
                Err(format!("it leaves by {way:?}"))
            }
        },
    );
}

fn watch(
    socket: &RawSocket,
    destination: Ipv4Addr,
    pace: Pace,
    stop: &Stop,
    changes: &SyncSender<Change>,
    first: Option<u32>,
) -> Count {
    let mut count = Count {
        looks: 1,
        without_route: u64::from(first.is_none()),
        blind_max: Duration::ZERO,
    };
    let mut before = first;
    let mut last_look = Instant::now();
    loop {
        // Asked before the look: what happened before the stop is seen for certain.
        let is_last = stop.is_wanted();
        let ifindex = look(socket, destination, count.looks as u32);
        let now = Instant::now();
        count.looks += 1;
        count.without_route += u64::from(ifindex.is_none());
        count.blind_max = count.blind_max.max(now - last_look);
        last_look = now;
        if ifindex != before {
            send(changes, Change { at: now, ifindex });
            before = ifindex;
        }
        if is_last {
            return count;
        }
        match pace {
            Pace::Tight => {}
            Pace::Every(pause) => thread::sleep(pause),
        }
    }
}

fn send(changes: &SyncSender<Change>, change: Change) {
    changes
        .try_send(change)
        .expect("no test makes so many changes");
}

/// One `RTM_GETROUTE` (rtnetlink(7)): the number of the interface in the answer, none where there is no route.
fn look(socket: &RawSocket, destination: Ipv4Addr, sequence: u32) -> Option<u32> {
    let mut request = Vec::with_capacity(NLMSG_HEADER_BYTES + RTMSG_BYTES + 8);
    request.extend(36_u32.to_ne_bytes());
    request.extend(libc::RTM_GETROUTE.to_ne_bytes());
    request.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request.extend(sequence.to_ne_bytes());
    request.extend(0_u32.to_ne_bytes());
    // rtmsg: family, prefix lengths, tos, table, protocol, scope, type, flags.
    request.extend([libc::AF_INET as u8, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    request.extend(8_u16.to_ne_bytes());
    request.extend(libc::RTA_DST.to_ne_bytes());
    request.extend(destination.octets());
    socket.send(&request).expect("the kernel takes a question");

    let mut buffer = [0; 4096];
    loop {
        let answer = socket
            .receive(&mut buffer)
            .expect("the kernel answers")
            .expect("the kernel answers in time");
        if answer.get(8..12) == Some(&sequence.to_ne_bytes()) {
            return outgoing_interface(answer);
        }
    }
}

fn outgoing_interface(answer: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    if kind != libc::RTM_NEWROUTE {
        return None;
    }
    let mut rest = answer.get(NLMSG_HEADER_BYTES + RTMSG_BYTES..)?;
    while rest.len() >= ATTRIBUTE_HEADER_BYTES {
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let value = rest.get(ATTRIBUTE_HEADER_BYTES..length)?;
        if u16::from_ne_bytes([rest[2], rest[3]]) == libc::RTA_OIF {
            return Some(u32::from_ne_bytes(value.try_into().ok()?));
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}
