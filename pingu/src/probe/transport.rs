//! Which engine serves which interface: the eBPF one where it can be had and sees, sockets elsewhere. To the rest both are one.

use std::collections::BTreeMap;

use super::{
    EngineKind, InterfaceTraffic, ProbeOrder, ProbeTransport, Remarks, SendResult, Stamps, Traffic,
    kernel::{AttachError, KernelTransport, LoadError, LoadOptions},
    socket::{SocketTransport, Sockets},
};
use crate::{
    config::EngineChoice,
    units::{Ifindex, SlotId},
};

pub(crate) mod beside;
mod watch;

use beside::Beside;
use watch::Watch;

/// What to know where packet sockets are refused as well.
const ECHO_SOCKETS: &str = "without CAP_NET_RAW the kernel's echo sockets serve: probes follow the routes of their interface";

/// Both engines.
pub struct Transport {
    choice: EngineChoice,
    kernel: Option<KernelTransport>,
    /// Made when the first interface needs it, or at once without programs.
    socket: Option<SocketTransport>,
    /// Where hooks are attached and detached by a thread.
    beside: Option<Beside>,
    /// Made when the first hooks are in doubt.
    watch: Option<Watch>,
    slots: u32,
    /// Why there are no eBPF programs.
    refusal: Option<String>,
    /// Of each slot: its last probe was the socket engine's.
    by_socket: Vec<bool>,
    /// Interfaces that could not be served when that was last tried, and the kernel's answer.
    failed: BTreeMap<Ifindex, i32>,
    /// Orders of one engine, their places among all, and its results; empty between calls.
    part: Part,
}

#[derive(Default)]
struct Part {
    orders: Vec<ProbeOrder>,
    places: Vec<usize>,
    results: Vec<SendResult>,
}

/// What serves an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The hooks, or sockets.
    pub engine: EngineKind,
    /// Why no hooks; none where there are some.
    pub reason: Option<String>,
}

impl Transport {
    /// Loads the programs, unless the configuration wants none. Fails only where it wants nothing else.
    pub fn load(choice: EngineChoice, options: LoadOptions) -> Result<Self, LoadError> {
        let (kernel, refusal) = match choice {
            EngineChoice::Ebpf => (Some(KernelTransport::load(options)?), None),
            EngineChoice::Socket => (None, Some("engine = \"socket\"".to_owned())),
            EngineChoice::Auto => match KernelTransport::load(options) {
                Ok(kernel) => (Some(kernel), None),
                Err(error) => {
                    let reason = first_line(error);
                    tracing::warn!(reason, "probing by sockets, without eBPF");
                    (None, Some(reason))
                }
            },
        };
        // Early, so that the kernel takes times by the time of the first probe. If it fails, so does the first attachment, which says why.
        let socket = kernel
            .is_none()
            .then(|| SocketTransport::new(options.slots).ok());
        Ok(Self {
            choice,
            kernel,
            socket: socket.flatten(),
            beside: None,
            watch: None,
            slots: options.slots.max(1),
            refusal,
            by_socket: vec![false; options.slots.max(1) as usize],
            failed: BTreeMap::new(),
            part: Part::default(),
        })
    }

    /// Why there are no eBPF programs; none if there are.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// The eBPF engine.
    pub fn kernel_mut(&mut self) -> Option<&mut KernelTransport> {
        self.kernel.as_mut()
    }

    /// Serves an interface, by hooks if they can be attached; `bare` is a device without link header. One that is served already is served
    /// anew.
    pub fn attach(&mut self, ifindex: Ifindex, bare: bool) -> Result<Served, AttachError> {
        let served = self.attach_any(ifindex, bare);
        self.note(ifindex, served)
    }

    fn attach_any(&mut self, ifindex: Ifindex, bare: bool) -> Result<Served, AttachError> {
        let reason = match &mut self.kernel {
            Some(kernel) => match kernel.attach(ifindex, bare) {
                Ok(engine) => {
                    if let Some(socket) = &mut self.socket {
                        socket.detach(ifindex);
                    }
                    let reason = None;
                    return Ok(Served { engine, reason });
                }
                Err(error) if self.choice == EngineChoice::Ebpf => return Err(error),
                Err(error) => first_line(error),
            },
            None => self.refusal.clone().unwrap_or_default(),
        };
        self.attach_sockets_only(ifindex, bare, reason)
    }

    /// Serves an interface by sockets, for this reason.
    pub fn attach_sockets(
        &mut self,
        ifindex: Ifindex,
        bare: bool,
        reason: String,
    ) -> Result<Served, AttachError> {
        let served = self.attach_sockets_only(ifindex, bare, reason);
        self.note(ifindex, served)
    }

    /// Remembers what became of an attempt to serve an interface.
    fn note(
        &mut self,
        ifindex: Ifindex,
        served: Result<Served, AttachError>,
    ) -> Result<Served, AttachError> {
        match &served {
            Ok(_) => self.failed.remove(&ifindex),
            Err(error) => self.failed.insert(ifindex, error.errno()),
        };
        served
    }

    fn attach_sockets_only(
        &mut self,
        ifindex: Ifindex,
        bare: bool,
        reason: String,
    ) -> Result<Served, AttachError> {
        let failed = |source| AttachError::Socket { ifindex, source };
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(SocketTransport::new(self.slots).map_err(failed)?),
        };
        let reason = match socket.attach(ifindex, bare).map_err(failed)? {
            Sockets::Packet => reason,
            Sockets::Echo => format!("{reason}; {ECHO_SOCKETS}"),
        };
        self.unwatch(ifindex);
        self.take_off(ifindex);
        if let Some(kernel) = &mut self.kernel {
            kernel.doubt(ifindex);
        }
        Ok(Served {
            engine: EngineKind::Socket,
            reason: Some(reason),
        })
    }

    /// Serves an interface no more.
    pub fn detach(&mut self, ifindex: Ifindex) {
        self.failed.remove(&ifindex);
        self.unwatch(ifindex);
        self.take_off(ifindex);
        if let Some(socket) = &mut self.socket {
            socket.detach(ifindex);
        }
    }

    /// Watches whether the hooks of an interface miss replies. Does nothing where none serve it.
    pub fn watch(&mut self, ifindex: Ifindex, bare: bool) {
        let Some(kernel) = &self.kernel else {
            return;
        };
        if kernel.engine(ifindex).is_none() {
            return;
        }
        let watch = self.watch.get_or_insert_with(Watch::new);
        if let Err(error) = watch.begin(ifindex, bare, self.slots) {
            tracing::debug!(%ifindex, %error, "cannot watch the hooks");
        }
    }

    /// Watches no more.
    pub fn unwatch(&mut self, ifindex: Ifindex) {
        if let Some(watch) = &mut self.watch {
            watch.end(ifindex);
        }
    }

    /// How many replies the hooks of a watched interface have missed; none if it is not watched.
    pub fn missed(&self, ifindex: Ifindex) -> Option<u32> {
        self.watch.as_ref()?.missed(ifindex)
    }

    /// Why an attached interface has no native XDP although it was asked for.
    pub fn declined(&self, ifindex: Ifindex) -> Option<&std::io::Error> {
        self.kernel.as_ref()?.declined(ifindex)
    }

    fn is_by_socket(&self, ifindex: Ifindex) -> bool {
        let socket = self.socket.as_ref();
        socket.is_some_and(|socket| socket.serves(ifindex))
    }

    /// What nobody serves was not sent for another reason than that its interface has gone: this could not be served, or was not come to.
    fn explain(&self, orders: &[ProbeOrder], results: &mut [SendResult]) {
        for (order, result) in orders.iter().zip(results) {
            let is_served = |ifindex| {
                let kernel = self.kernel.as_ref();
                self.is_by_socket(ifindex)
                    || kernel.is_some_and(|kernel| kernel.engine(ifindex).is_some())
            };
            if *result == SendResult::NotSent(libc::ENODEV) && !is_served(order.ifindex) {
                let errno = self.failed.get(&order.ifindex).copied();
                *result = SendResult::NotSent(errno.unwrap_or(libc::EAGAIN));
            }
        }
    }

    /// Sends those orders that are one engine's.
    fn send_part(&mut self, by_socket: bool, orders: &[ProbeOrder], results: &mut [SendResult]) {
        let mut part = std::mem::take(&mut self.part);
        for (place, order) in orders.iter().enumerate() {
            if self.is_by_socket(order.ifindex) == by_socket {
                part.orders.push(*order);
                part.places.push(place);
            }
        }
        if !part.orders.is_empty() {
            let (orders, outcome) = (&part.orders, &mut part.results);
            match (&mut self.socket, &mut self.kernel) {
                (Some(socket), _) if by_socket => socket.send(orders, outcome),
                (_, Some(kernel)) if !by_socket => kernel.send(orders, outcome),
                (_, _) => outcome.resize(orders.len(), SendResult::NotSent(libc::ENODEV)),
            }
            for (place, result) in part.places.iter().zip(&part.results) {
                results[*place] = *result;
            }
        }
        part.orders.clear();
        part.places.clear();
        part.results.clear();
        self.part = part;
    }

    fn holder(&self, slot: SlotId) -> Option<&dyn ProbeTransport> {
        if self.by_socket.get(slot.0 as usize).copied()? {
            let socket = self.socket.as_ref()?;
            Some(socket)
        } else {
            let kernel = self.kernel.as_ref()?;
            Some(kernel)
        }
    }
}

impl ProbeTransport for Transport {
    fn send(&mut self, orders: &[ProbeOrder], results: &mut Vec<SendResult>) {
        for order in orders {
            let by_socket = self.is_by_socket(order.ifindex);
            if let Some(slot) = self.by_socket.get_mut(order.slot.0 as usize) {
                *slot = by_socket;
            }
        }
        match (&mut self.kernel, &mut self.socket) {
            (Some(kernel), None) => kernel.send(orders, results),
            (None, Some(socket)) => socket.send(orders, results),
            (_, _) => {
                results.clear();
                results.resize(orders.len(), SendResult::NotSent(libc::ENODEV));
                self.send_part(false, orders, results);
                self.send_part(true, orders, results);
            }
        }
        self.explain(orders, results);
    }

    fn read(&self, slot: SlotId) -> Stamps {
        let nothing = Stamps {
            sent_ns: None,
            received_ns: None,
        };
        self.holder(slot)
            .map_or(nothing, |engine| engine.read(slot))
    }

    fn remarks(&self, slot: SlotId) -> Remarks {
        let engine = self.holder(slot);
        engine.map_or_else(Remarks::default, |engine| engine.remarks(slot))
    }

    fn traffic(&self, ifindex: Ifindex) -> Option<Traffic> {
        self.kernel.as_ref()?.traffic(ifindex)
    }

    fn interface_traffic(
        &mut self,
        ifindex: Ifindex,
        tell_apart: bool,
    ) -> Option<InterfaceTraffic> {
        self.socket.as_mut()?.interface_traffic(ifindex, tell_apart)
    }

    fn refresh(&mut self) {
        if let Some(kernel) = &mut self.kernel {
            kernel.refresh();
            if let Some(watch) = &mut self.watch {
                watch.refresh(kernel.slots());
            }
        }
        if let Some(socket) = &mut self.socket {
            socket.refresh();
        }
    }
}

/// An error and its causes, without the verifier's log.
fn first_line(error: impl std::error::Error + Send + Sync + 'static) -> String {
    let text = format!("{:#}", anyhow::Error::new(error));
    text.lines().next().unwrap_or_default().to_owned()
}
