//! The eBPF engine: programs stamp requests and match replies, slots in mapped memory carry the times, packet sockets send.
//! Nothing is pinned, so a killed process leaves no program behind but clsact filters, which the next one replaces.

use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData, PerCpuArray},
    programs::{Program, ProgramError, SchedClassifier, Xdp},
};
use pingu_common::{
    COOKIE_WORDS, COUNTERS, Counter, GLOBAL_PASS_REPLIES, GLOBAL_PROCESSORS, GLOBAL_TRAFFIC_MASK,
    MAP_COUNTERS, MAP_FAN, MAP_REMARKS, MAP_SLOTS, MAP_TRAFFIC, PROGRAM_REPLY_BARE,
    PROGRAM_REPLY_ETHERNET, PROGRAM_REPLY_XDP, PROGRAM_REQUEST_BARE, PROGRAM_REQUEST_ETHERNET,
    reflector::{MAP_COUNTED, MAP_SERVED},
};

use self::{
    attach::{Attachment, Hooks, Place, ProgramCopies, Programs},
    attacher::{Attacher, Outcomes},
    clsact::Owner,
    fan::FanOut,
    remarks::RemarkEntries,
    sender::{Sender, Stamping},
    slots::Slots,
    traffic::{Layout, TrafficEntries},
    verify::load_uninterrupted,
};
use super::{EngineKind, ProbeOrder, ProbeTransport, Remarks, SendResult, Stamps, Traffic};
use crate::{
    config::ReceiveHook,
    units::{Ifindex, SlotId},
};

pub(crate) mod attach;
pub(crate) mod attacher;
mod clsact;
mod error;
mod fan;
mod mapped;
mod object;
mod packet_socket;
pub mod reflector;
mod remarks;
pub(crate) mod sender;
pub(super) mod slots;
mod traffic;
mod verify;

pub use self::error::{AttachError, LoadError};

/// What the programs are loaded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Probes in flight at most.
    pub slots: u32,
    /// Where replies are matched.
    pub receive: ReceiveHook,
    /// Interfaces whose traffic is counted, about; with 0 none is, and no packet pays for it.
    pub counted_interfaces: u32,
    /// Replies go on into the stack after they were matched: a capture behind native XDP sees them then.
    pub passes_replies: bool,
    /// A script's: beside a daemon on the same interface.
    pub scripted: bool,
}

impl LoadOptions {
    /// Programs that count no traffic.
    pub fn new(slots: u32, receive: ReceiveHook) -> Self {
        Self {
            slots,
            receive,
            counted_interfaces: 0,
            passes_replies: false,
            scripted: false,
        }
    }

    /// The same programs, which let matched replies go on into the stack.
    pub fn passing_replies(self) -> Self {
        Self {
            passes_replies: true,
            ..self
        }
    }

    /// The same programs for a script, whose filters displace none of a daemon's.
    pub fn scripted(self) -> Self {
        Self {
            scripted: true,
            ..self
        }
    }

    /// The same programs, and they count the traffic of about so many interfaces.
    pub fn counting(self, interfaces: u32) -> Self {
        Self {
            counted_interfaces: interfaces,
            ..self
        }
    }
}

/// The eBPF engine.
pub struct KernelTransport {
    // The programs' file descriptors live in here; dropping it after the links is as good as before.
    ebpf: Ebpf,
    place: Place,
    slots: Slots,
    traffic: TrafficEntries,
    counters: PerCpuArray<MapData, [u64; COUNTERS]>,
    /// In order of their interfaces' numbers.
    hooks: Vec<Hooks>,
    sender: Sender,
    fan: FanOut,
}

/// The programs' counts, summed over all processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct KernelCounters {
    /// Requests that passed the egress hook.
    pub stamped: u64,
    /// Requests of ours that passed the egress hook of another interface than their own.
    pub strayed: u64,
    /// Replies that counted.
    pub matched: u64,
    /// Replies to a probe that was answered before.
    pub duplicate: u64,
    /// Replies right in everything but the interface or the VLAN.
    pub wrong_uplink: u64,
    /// Replies that name a live slot but differ in cookie, identifier, sequence or source.
    pub forged: u64,
    /// Replies that name a slot that is dead or whose request never passed the egress hook.
    pub stale: u64,
    /// Replies right in everything but the ICMP checksum.
    pub corrupt: u64,
    /// ICMP errors that quote a probe of ours, cookie and all.
    pub error: u64,
    /// ICMP errors that quote an echo request with the number of a slot, and do not prove to speak of its probe.
    pub error_unproven: u64,
}

impl KernelTransport {
    /// Loads the programs. They do nothing until [`Self::attach`].
    pub fn load(options: LoadOptions) -> Result<Self, LoadError> {
        let receive = options.receive;
        let slots = options.slots.max(1);
        let layout = Layout::of(options.counted_interfaces).map_err(LoadError::Processors)?;
        let object = object::bytes().ok_or(LoadError::NoObject)?;
        // Kernel type information is for programs that read kernel structures; ours read packets, and parsing it is slow.
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .map_max_entries(MAP_SLOTS, slots)
            .map_max_entries(MAP_REMARKS, slots)
            .map_max_entries(MAP_TRAFFIC, layout.entries())
            .override_global(GLOBAL_TRAFFIC_MASK, &layout.mask(), true)
            .override_global(GLOBAL_PROCESSORS, &layout.processors(), true)
            .override_global(
                GLOBAL_PASS_REPLIES,
                &u32::from(options.passes_replies),
                true,
            )
            // The reflector's maps, which are not used here.
            .map_max_entries(MAP_SERVED, 1)
            .map_max_entries(MAP_COUNTED, 1)
            .load(object)
            .map_err(LoadError::from_object)?;
        let (classifiers, frames): (&[&str], &[&str]) = (
            &[
                PROGRAM_REQUEST_ETHERNET,
                PROGRAM_REQUEST_BARE,
                PROGRAM_REPLY_ETHERNET,
                PROGRAM_REPLY_BARE,
            ],
            match receive {
                ReceiveHook::Xdp => &[PROGRAM_REPLY_XDP],
                ReceiveHook::Auto | ReceiveHook::Tcx | ReceiveHook::Clsact => &[],
            },
        );
        for name in classifiers {
            let program: &mut SchedClassifier = program(&mut ebpf, name)?;
            load_uninterrupted(|| program.load())
                .map_err(|source| LoadError::from_program(name, source))?;
        }
        for name in frames {
            let program: &mut Xdp = program(&mut ebpf, name)?;
            load_uninterrupted(|| program.load())
                .map_err(|source| LoadError::from_program(name, source))?;
        }
        let mut array = |name| match ebpf.take_map(name) {
            Some(Map::Array(map)) => Ok(map),
            _ => Err(LoadError::OtherVersion(name)),
        };
        let remarks = RemarkEntries::map(array(MAP_REMARKS)?, slots).map_err(LoadError::Map)?;
        let slots = Slots::map(array(MAP_SLOTS)?, remarks, slots).map_err(LoadError::Map)?;
        let traffic = TrafficEntries::map(array(MAP_TRAFFIC)?, layout).map_err(LoadError::Map)?;
        let fan = FanOut::new(array(MAP_FAN)?).map_err(LoadError::Map)?;
        let counters = ebpf
            .take_map(MAP_COUNTERS)
            .and_then(|map| PerCpuArray::try_from(map).ok())
            .ok_or(LoadError::OtherVersion(MAP_COUNTERS))?;
        let owner = if options.scripted {
            Owner::Script
        } else {
            Owner::Prober
        };
        Ok(Self {
            ebpf,
            place: Place { receive, owner },
            slots,
            traffic,
            counters,
            hooks: Vec::new(),
            sender: Sender::new(None),
            fan,
        })
    }

    /// Puts the programs on an interface and opens a socket there; `bare` is a device without link header. An interface that is
    /// attached already is attached anew, which is what to do after its device was deleted and came back under the same number.
    /// Says which hooks serve it, which may be less than was asked for: see [`Self::declined`].
    pub fn attach(&mut self, ifindex: Ifindex, bare: bool) -> Result<EngineKind, AttachError> {
        self.detach(ifindex);
        let programs = Programs::of(&self.ebpf, bare, self.place.receive)?;
        let attachment = Attachment::make(ifindex, bare, &programs, self.place)?;
        Ok(self.adopt(attachment, bare))
    }

    /// Takes the programs off an interface and closes its socket. Does nothing where it is not attached.
    pub fn detach(&mut self, ifindex: Ifindex) {
        drop(self.release(ifindex));
    }

    /// Starts a thread that attaches: what it made is for [`Self::adopt`], and what [`Self::release`] returns may be ended there.
    pub(super) fn attacher(&self) -> std::io::Result<(Attacher<Attachment>, Outcomes<Attachment>)> {
        let place = self.place;
        let copies = ProgramCopies::of(&self.ebpf, place.receive)?;
        Attacher::start(move |ifindex, bare| {
            Attachment::make(ifindex, bare, &copies.for_device(bare), place)
        })
    }

    /// Probes by what was attached, to an interface that is not served.
    pub(super) fn adopt(&mut self, attachment: Attachment, bare: bool) -> EngineKind {
        let Attachment { socket, hooks } = attachment;
        let (ifindex, kind) = (hooks.ifindex(), hooks.kind());
        self.sender.adopt(ifindex, bare, socket);
        let place = self
            .hooks
            .partition_point(|hooks| hooks.ifindex() < ifindex);
        self.hooks.insert(place, hooks);
        self.traffic.begin(ifindex);
        kind
    }

    /// Probes by an interface no more. Nothing is taken off it until what this returns is dropped.
    pub(super) fn release(&mut self, ifindex: Ifindex) -> Option<Attachment> {
        let socket = self.sender.close(ifindex);
        self.traffic.end(ifindex);
        let found = self.hooks.binary_search_by_key(&ifindex, Hooks::ifindex);
        let hooks = found.ok().map(|place| self.hooks.remove(place));
        let (socket, hooks) = socket.zip(hooks)?;
        Some(Attachment { socket, hooks })
    }

    /// The interfaces that are attached.
    pub(super) fn attached(&self) -> Vec<Ifindex> {
        self.hooks.iter().map(Hooks::ifindex).collect()
    }

    /// Nobody matches replies over this interface any more: probes that wait for one say nothing.
    pub fn doubt(&mut self, ifindex: Ifindex) {
        self.slots.doubt(ifindex);
    }

    /// Why an attached interface has no native XDP although it was asked for.
    pub fn declined(&self, ifindex: Ifindex) -> Option<&std::io::Error> {
        self.hooks
            .iter()
            .find(|hooks| hooks.ifindex() == ifindex)?
            .declined()
    }

    /// Which hooks serve an attached interface.
    pub fn engine(&self, ifindex: Ifindex) -> Option<EngineKind> {
        Some(
            self.hooks
                .iter()
                .find(|hooks| hooks.ifindex() == ifindex)?
                .kind(),
        )
    }

    /// What the programs have counted since they were loaded.
    pub fn counters(&self) -> Result<KernelCounters, std::io::Error> {
        let values = self.counters.get(&0, 0).map_err(std::io::Error::other)?;
        let total = |counter: Counter| values.iter().map(|cpu| cpu[counter as usize]).sum();
        Ok(KernelCounters {
            stamped: total(Counter::Stamped),
            strayed: total(Counter::Strayed),
            matched: total(Counter::Matched),
            duplicate: total(Counter::Duplicate),
            wrong_uplink: total(Counter::WrongUplink),
            forged: total(Counter::Forged),
            stale: total(Counter::Stale),
            corrupt: total(Counter::Corrupt),
            error: total(Counter::Error),
            error_unproven: total(Counter::ErrorUnproven),
        })
    }

    /// What the programs have to say, if the object was built to say anything (`cargo xtask build-ebpf` without `--release`). The caller
    /// awaits its descriptor and flushes it.
    pub fn logger(&mut self) -> Option<aya_log::EbpfLogger<&'static dyn log::Log>> {
        aya_log::EbpfLogger::init(&mut self.ebpf).ok()
    }

    pub(super) fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Lets all further cookies begin so: whoever listens beside the hooks knows replies by it.
    pub(crate) fn begin_cookies(&mut self, first_word: u32) {
        self.sender.begin_cookies(first_word);
    }

    /// What the probe of a slot carries.
    pub(crate) fn cookie(&self, slot: SlotId) -> Option<[u32; COOKIE_WORDS]> {
        Some(self.slots.expected(slot)?.cookie)
    }

    /// How many slots there are.
    pub fn slot_count(&self) -> u32 {
        self.slots.count()
    }

    /// A loaded program, for tests and benchmarks that run it on packets of their own.
    pub fn program(&self, name: &str) -> Option<&Program> {
        self.ebpf.program(name)
    }

    /// Arms an order's slot with this cookie, as [`ProbeTransport::send`] does with a random one, and marks it as sent at
    /// `sent_ns` (0: not yet). For tests and benchmarks that run a program on packets of their own.
    pub fn arm(&mut self, order: &ProbeOrder, cookie: [u32; 4], sent_ns: u64) {
        self.slots.arm(order, cookie);
        self.slots.set_sent(order.slot, sent_ns);
    }

    /// Makes a slot dead: whatever arrives for it does not count.
    pub fn disarm(&mut self, slot: SlotId) {
        self.slots.disarm(slot);
    }
}

impl ProbeTransport for KernelTransport {
    fn send(&mut self, orders: &[ProbeOrder], results: &mut Vec<SendResult>) {
        let stamping = &mut Stamping::Hooks(&mut self.fan);
        self.sender.send(&self.slots, stamping, orders, results);
    }

    fn read(&self, slot: SlotId) -> Stamps {
        self.slots.read(slot)
    }

    fn remarks(&self, slot: SlotId) -> Remarks {
        self.slots.remarks(slot)
    }

    fn traffic(&self, ifindex: Ifindex) -> Option<Traffic> {
        self.traffic.read(ifindex)
    }
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, LoadError>
where
    &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
{
    let program = ebpf
        .program_mut(name)
        .ok_or(LoadError::OtherVersion(name))?;
    program
        .try_into()
        .map_err(|_| LoadError::OtherVersion(name))
}
