//! Probes by the eBPF engine: frames leave by packet sockets, hooks stamp them and match their replies. Whatever it cannot do it leaves
//! to the raw sockets, which listen beside it: replies go on to them and wake the prober, and one that the hooks miss counts. A reply
//! that never gets there, since a filter of this machine drops it, is found by looking into its slot.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    time::{Duration, Instant},
};

use super::flights::Number;
use crate::{
    config::ReceiveHook,
    probe::{
        ProbeOrder, ProbeTransport, SendResult, Stamps,
        kernel::{KernelTransport, LoadOptions},
    },
    units::{Ifindex, SlotId},
};

/// Probes in flight by hooks; more leave by sockets.
const SLOTS: u32 = 32_768;

/// Slots are looked into so soon after a probe left, then after half as much time again as has passed, and at last so often.
const LOOK_MIN: Duration = Duration::from_millis(2);
const LOOK_MAX: Duration = Duration::from_millis(100);

/// An interface that takes no hooks is asked again after so long.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// The engine, and when to look what became of its probes.
pub(super) struct Frames {
    kernel: KernelTransport,
    /// Interfaces with hooks, and those that refused them, until when.
    attached: BTreeMap<Ifindex, Option<Instant>>,
    looks: BinaryHeap<Reverse<(Instant, Number, u32)>>,
    /// Probes that left by it.
    pub(super) sent: u64,
    /// Ends with the process, however that ends.
    _claim: Option<UnixListener>,
}

impl Frames {
    /// The engine; none where the kernel refuses it, which is told. All cookies begin with `first_word`.
    pub(super) fn load(first_word: u32) -> Option<Self> {
        // Before TCX there is one place for filters of scripts: a second process would displace those of the first.
        let claim = claim()
            .inspect_err(|error| tracing::debug!(%error, "no filters of clsact for this script"))
            .ok();
        let receive = match claim {
            Some(_) => ReceiveHook::Auto,
            None => ReceiveHook::Tcx,
        };
        let options = LoadOptions::new(SLOTS, receive).passing_replies();
        match KernelTransport::load(options.scripted()) {
            Ok(mut kernel) => {
                kernel.begin_cookies(first_word);
                Some(Self {
                    kernel,
                    attached: BTreeMap::new(),
                    looks: BinaryHeap::new(),
                    sent: 0,
                    _claim: claim,
                })
            }
            Err(error) => {
                let error = anyhow::Error::new(error);
                let reason = format!("{error:#}");
                let reason = reason.lines().next().unwrap_or_default();
                tracing::info!(reason, "probing by raw sockets, without eBPF");
                None
            }
        }
    }

    /// Whether a number is one of its slots.
    pub(super) fn has(&self, number: Number) -> bool {
        number.0 < SLOTS
    }

    /// Whether hooks serve an interface, which is tried if it was not; `bare` is one without link header.
    pub(super) fn serves(&mut self, ifindex: Ifindex, bare: bool, now: Instant) -> bool {
        match self.attached.get(&ifindex) {
            Some(None) => return true,
            Some(Some(until)) if now < *until => return false,
            Some(Some(_)) | None => {}
        }
        let refused = self.kernel.attach(ifindex, bare).err().map(|error| {
            let error = anyhow::Error::new(error);
            tracing::info!(%ifindex, "no hooks here, probing by raw sockets: {error:#}");
            now + REFUSED_FOR
        });
        self.attached.insert(ifindex, refused);
        refused.is_none()
    }

    /// An interface is gone, or not what it was.
    pub(super) fn forget(&mut self, ifindex: Ifindex) {
        self.attached.remove(&ifindex);
        self.kernel.detach(ifindex);
    }

    /// The interfaces that it knows.
    pub(super) fn interfaces(&self) -> Vec<Ifindex> {
        self.attached.keys().copied().collect()
    }

    /// Sends orders; `results` gets one result for each.
    pub(super) fn send(&mut self, orders: &[ProbeOrder], results: &mut Vec<SendResult>) {
        self.kernel.send(orders, results);
    }

    /// What the probe of a number carries.
    pub(super) fn cookie(&self, number: Number) -> [u32; pingu_common::COOKIE_WORDS] {
        self.kernel.cookie(SlotId(number.0)).unwrap_or_default()
    }

    /// When a probe left and returned.
    pub(super) fn read(&self, number: Number) -> Stamps {
        self.kernel.read(SlotId(number.0))
    }

    /// Nobody waits for this reply any more.
    pub(super) fn disarm(&mut self, number: Number) {
        self.kernel.disarm(SlotId(number.0));
    }

    /// Looks after a probe that has just left.
    pub(super) fn watch(&mut self, number: Number, turn: u32, now: Instant) {
        self.sent += 1;
        self.looks.push(Reverse((now + LOOK_MIN, number, turn)));
    }

    /// Looks at it again, some time after a look that found nothing.
    pub(super) fn watch_on(&mut self, number: Number, turn: u32, sent: Instant, now: Instant) {
        let wait = ((now - sent) / 2).clamp(LOOK_MIN, LOOK_MAX);
        self.looks.push(Reverse((now + wait, number, turn)));
    }

    /// The next probe to look at.
    pub(super) fn take_look(&mut self, now: Instant) -> Option<(Number, u32)> {
        let Reverse((_, number, turn)) = *self.looks.peek().filter(|look| look.0.0 <= now)?;
        self.looks.pop();
        Some((number, turn))
    }

    /// When the next look is due.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.looks.peek().map(|look| look.0.0)
    }
}

/// The filters of one network namespace: abstract socket names are the namespace's own.
fn claim() -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name("pingu/script")?)
}
