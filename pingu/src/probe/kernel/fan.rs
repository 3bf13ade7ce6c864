//! Several probes of one shape in one system call: a template, of which the egress program makes the probes.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    ptr::{NonNull, addr_of_mut},
    sync::atomic::{Ordering, fence},
};

use aya::maps::MapData;
use pingu_common::{
    Payload,
    fan::{FAN_PROBES_MAX, FAN_SLOT, FAN_UNTOUCHED, Fan},
};

use super::{
    mapped::Mapped,
    sender::{Cookies, batch},
    slots::Slots,
};
use crate::probe::{ProbeOrder, SendResult, packet};

/// What the kernel says of a packet that a queue dropped (`NET_XMIT_DROP`).
const QUEUE_DROPPED: i32 = 1;

/// Sends templates. One at a time: a template's probes have left, or failed, when the system call returns.
pub(in crate::probe) struct FanOut {
    entry: Mapped<Fan>,
    frame: Vec<u8>,
}

impl FanOut {
    pub(super) fn new(map: MapData) -> io::Result<Self> {
        Ok(Self {
            entry: Mapped::new(map, 1)?,
            frame: Vec::new(),
        })
    }

    /// Sends these orders, which are of one shape, by an interface with Ethernet headers. Returns the errno if the interface takes no
    /// more for now.
    pub(super) fn send(
        &mut self,
        socket: &OwnedFd,
        orders: &[ProbeOrder],
        places: &[u32],
        results: &mut [SendResult],
        slots: &Slots,
        cookies: &mut Cookies,
    ) -> Option<i32> {
        let (&last, _) = places.split_last()?;
        let template = &orders[last as usize];
        let cookie = cookies.next();
        let Some(length) = self.prepare(template, cookie) else {
            for place in places {
                results[*place as usize] = SendResult::NotSent(libc::EAFNOSUPPORT);
            }
            return None;
        };
        let entry = self.entry.entry(0).expect("the map has one entry");
        let sums = packet::sums(template);
        let mut numbers = [0; FAN_PROBES_MAX];
        for (number, place) in numbers.iter_mut().zip(places) {
            let order = &orders[*place as usize];
            slots.arm(order, cookies.next());
            *number = order.slot.0;
        }
        // SAFETY: the entry is in the mapping, and no program touches it while no template is on its way.
        unsafe {
            entry.write_volatile(Fan {
                cookie,
                sums,
                count: places.len() as u32,
                slots: numbers,
                results: [FAN_UNTOUCHED; FAN_PROBES_MAX],
            });
        }
        fence(Ordering::Release);
        // SAFETY: the frame lives through the call.
        let sent = unsafe {
            let from = self.frame.as_ptr().cast();
            libc::send(socket.as_raw_fd(), from, length, libc::MSG_DONTWAIT)
        };
        let errno = (sent < 0).then(|| {
            let error = io::Error::last_os_error().raw_os_error();
            error.unwrap_or(libc::EIO)
        });
        fence(Ordering::Acquire);
        let outcome = Outcome::read(entry);
        for (index, place) in places.iter().enumerate() {
            let slot = orders[*place as usize].slot;
            let is_last = index + 1 == places.len();
            let result = match (outcome.clone_of(index), errno) {
                (Some(errno), _) if !is_last && errno < 0 => SendResult::NotSent(-errno),
                // A queue that dropped it comes after the egress hook: as lost as if a router had dropped it.
                (Some(QUEUE_DROPPED), _) if !is_last => SendResult::Dropped(libc::ENOBUFS),
                (Some(_), _) if !is_last => SendResult::Sent,
                (_, Some(libc::ENOBUFS)) => batch::dropped_at_egress(slot, slots),
                (_, Some(errno)) => SendResult::NotSent(errno),
                (_, None) => SendResult::Sent,
            };
            if let SendResult::NotSent(_) = result {
                slots.disarm(slot);
            }
            results[*place as usize] = result;
        }
        match results[last as usize] {
            SendResult::NotSent(errno) if batch::takes_no_more(errno) => Some(errno),
            _ => None,
        }
    }

    /// Writes the template, itself a valid echo request: without the program it leaves as what it is, and its reply counts nowhere.
    fn prepare(&mut self, template: &ProbeOrder, cookie: [u32; 4]) -> Option<usize> {
        let bytes = packet::HEADER_BYTES_MAX + usize::from(template.payload_bytes);
        if self.frame.len() < bytes {
            self.frame.resize(bytes, 0);
        }
        let payload = Payload {
            slot: FAN_SLOT,
            cookie,
        };
        packet::write(&mut self.frame, template, &payload)
    }
}

/// What the program left behind.
struct Outcome {
    results: [i32; FAN_PROBES_MAX],
}

impl Outcome {
    fn read(entry: NonNull<Fan>) -> Self {
        // SAFETY: the entry is in the mapping, and the system call in which the program wrote has returned.
        let results = unsafe { addr_of_mut!((*entry.as_ptr()).results).read_volatile() };
        Self { results }
    }

    /// What became of a clone; none if the program never came to it.
    fn clone_of(&self, index: usize) -> Option<i32> {
        Some(self.results[index]).filter(|&result| result != FAN_UNTOUCHED)
    }
}

/// Whether two orders differ only in what a template leaves open.
pub(super) fn same_shape(a: &ProbeOrder, b: &ProbeOrder) -> bool {
    a.ifindex == b.ifindex
        && a.link == b.link
        && a.source == b.source
        && a.target.is_ipv4() == b.target.is_ipv4()
        && a.payload_bytes == b.payload_bytes
        && a.reflect == b.reflect
}
