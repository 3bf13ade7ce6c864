//! The reflector's programs and maps. Like the prober's they hold by file descriptors that are pinned nowhere, or by clsact.

use std::{
    collections::BTreeSet,
    io,
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, MapError, PerCpuArray},
    programs::{Program, SchedClassifier, Xdp},
};
use ipnet::IpNet;
use pingu_common::{
    VlanIds,
    reflector::{
        Counted, CountedKey, Limit, MAP_CLOCK, MAP_COUNTED, MAP_FROM, MAP_LIMIT,
        MAP_REFLECT_COUNTERS, MAP_SERVED, PROGRAM_REFLECT_BARE, PROGRAM_REFLECT_ETHERNET,
        PROGRAM_REFLECT_XDP, REFLECT_COUNTERS, ReflectCounter, Served, ServedKey,
    },
};

use super::{AttachError, LoadError, attach::Wanted, object, program, verify::load_uninterrupted};
use crate::units::Ifindex;

mod attached;
mod sources;

pub use attached::Attached;
use sources::Sources;

/// The maps' keys and values as aya takes them: plain words.
type ServedKeyWords = [u32; size_of::<ServedKey>() / 4];
type ServedBytes = [u8; size_of::<Served>()];
type CountedKeyWords = [u32; size_of::<CountedKey>() / 4];
type CountedWords = [u64; size_of::<Counted>() / 8];
type LimitWords = [u64; size_of::<Limit>() / 8];

/// The loaded reflector.
pub struct Reflector {
    ebpf: Ebpf,
    served: HashMap<MapData, ServedKeyWords, ServedBytes>,
    counted: HashMap<MapData, CountedKeyWords, CountedWords>,
    counters: PerCpuArray<MapData, [u64; REFLECT_COUNTERS]>,
    sources: Sources,
}

/// Where a reflector's program sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReflectHook {
    /// Native XDP.
    Xdp,
    /// TCX ingress.
    Tcx,
    /// A clsact ingress filter.
    Clsact,
}

impl ReflectHook {
    /// In one word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// The programs' counts, summed over all processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ReflectorCounters {
    /// Requests answered.
    pub reflected: u64,
    /// Requests left to the kernel because their source is in none of the prefixes, or cannot be another host's.
    pub refused: u64,
    /// Requests left to the kernel because a checksum is wrong.
    pub corrupt: u64,
    /// Requests left to the kernel because the limit was reached.
    pub limited: u64,
    /// Requests that could not be rewritten, and were dropped.
    pub dropped: u64,
}

/// What was counted of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountedPath {
    /// Who asks.
    pub source: IpAddr,
    /// The address that is asked.
    pub target: IpAddr,
    /// The prober's number for the path.
    pub path: u32,
    /// Requests so far.
    pub requests: u64,
    /// When the last one came, in nanoseconds of `CLOCK_MONOTONIC`.
    pub last_ns: u64,
}

impl Reflector {
    /// Loads the programs, which answer requests from these prefixes, so many a second at most (0: any number). They do nothing until one
    /// is attached, and [`Self::serve`]. `clock_begin_ns` is added to every stamp.
    pub fn load(
        from: &[IpNet],
        limit_per_second: u32,
        clock_begin_ns: u64,
    ) -> Result<Self, LoadError> {
        let object = object::bytes().ok_or(LoadError::NoObject)?;
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .load(object)
            .map_err(LoadError::from_object)?;
        let failed = |name| move |source| LoadError::from_program(name, source);
        let name = PROGRAM_REFLECT_XDP;
        let frames: &mut Xdp = program(&mut ebpf, name)?;
        load_uninterrupted(|| frames.load()).map_err(failed(name))?;
        for name in [PROGRAM_REFLECT_ETHERNET, PROGRAM_REFLECT_BARE] {
            let classifier: &mut SchedClassifier = program(&mut ebpf, name)?;
            load_uninterrupted(|| classifier.load()).map_err(failed(name))?;
        }
        let mut clock: Array<_, u64> = map(&mut ebpf, MAP_CLOCK)?;
        clock.set(0, clock_begin_ns, 0).map_err(map_failed)?;
        let mut limit: Array<_, LimitWords> = map(&mut ebpf, MAP_LIMIT)?;
        let words = limit_words(Limit::per_second(limit_per_second));
        limit.set(0, words, 0).map_err(map_failed)?;
        let sources = Sources::new(map(&mut ebpf, MAP_FROM)?, from).map_err(map_failed)?;
        Ok(Self {
            sources,
            served: map(&mut ebpf, MAP_SERVED)?,
            counted: map(&mut ebpf, MAP_COUNTED)?,
            counters: map(&mut ebpf, MAP_REFLECT_COUNTERS)?,
            ebpf,
        })
    }

    /// Answers for an address on an interface, whose own Ethernet address is given where it has any.
    pub fn serve(
        &mut self,
        ifindex: Ifindex,
        vlan: VlanIds,
        address: IpAddr,
        link_address: [u8; 6],
    ) -> io::Result<()> {
        let mut value = ServedBytes::default();
        value[..6].copy_from_slice(&link_address);
        self.served
            .insert(served_key(ifindex, vlan, address), value, 0)
            .map_err(io::Error::other)
    }

    /// Answers no more for an address on an interface.
    pub fn forget(&mut self, ifindex: Ifindex, vlan: VlanIds, address: IpAddr) {
        if let Err(error) = self.served.remove(&served_key(ifindex, vlan, address)) {
            tracing::debug!(%ifindex, %address, %error, "was not served");
        }
    }

    /// Leaves requests from these addresses to the kernel, wherever else they may come from: those that cannot be another host's.
    pub fn refuse(&mut self, sources: BTreeSet<IpAddr>) -> io::Result<()> {
        self.sources.refuse(sources)
    }

    /// Puts the program for frames on an interface with Ethernet headers and native XDP. A program of somebody else is never displaced.
    pub fn attach_xdp(&self, ifindex: Ifindex) -> Result<Attached, AttachError> {
        Attached::frames(self.descriptor(PROGRAM_REFLECT_XDP)?, ifindex)
    }

    /// Puts the program for packets on an interface, by TCX or, where the kernel has none or `clsact` asks for it, by clsact; `bare` is a
    /// device without link header. What a killed reflector left there is replaced.
    pub fn attach_classifier(
        &self,
        ifindex: Ifindex,
        bare: bool,
        clsact: bool,
    ) -> Result<Attached, AttachError> {
        let name = match bare {
            true => PROGRAM_REFLECT_BARE,
            false => PROGRAM_REFLECT_ETHERNET,
        };
        let wanted = match clsact {
            true => Wanted::Clsact,
            false => Wanted::Either,
        };
        Attached::classifier(self.descriptor(name)?, ifindex, wanted)
    }

    fn descriptor(&self, name: &'static str) -> Result<BorrowedFd<'_>, AttachError> {
        let program = self.ebpf.program(name);
        let fd = program.and_then(|program| program.fd().ok());
        Ok(fd.ok_or(AttachError::NotLoaded(name))?.as_fd())
    }

    /// What the programs have counted since they were loaded.
    pub fn counters(&self) -> io::Result<ReflectorCounters> {
        let values = self.counters.get(&0, 0).map_err(io::Error::other)?;
        let total = |counter: ReflectCounter| values.iter().map(|cpu| cpu[counter as usize]).sum();
        Ok(ReflectorCounters {
            reflected: total(ReflectCounter::Reflected),
            refused: total(ReflectCounter::Refused),
            corrupt: total(ReflectCounter::Corrupt),
            limited: total(ReflectCounter::Limited),
            dropped: total(ReflectCounter::Dropped),
        })
    }

    /// What was counted of each path, in no order. A path that comes or goes meanwhile may be missing.
    pub fn paths(&self) -> Vec<CountedPath> {
        self.counted
            .iter()
            .flatten()
            .map(|(key, value)| CountedPath {
                source: address([key[0], key[1], key[2], key[3]]),
                target: address([key[4], key[5], key[6], key[7]]),
                path: u32::from_be(key[8]),
                requests: value[0],
                last_ns: value[1],
            })
            .collect()
    }

    /// A loaded program, for tests that run it on packets of their own.
    pub fn program(&self, name: &str) -> Option<&Program> {
        self.ebpf.program(name)
    }
}

fn map<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, LoadError>
where
    M: TryFrom<aya::maps::Map, Error = MapError>,
{
    ebpf.take_map(name)
        .and_then(|map| M::try_from(map).ok())
        .ok_or(LoadError::OtherVersion(name))
}

fn map_failed(error: MapError) -> LoadError {
    LoadError::Fill(io::Error::other(error))
}

fn limit_words(limit: Limit) -> LimitWords {
    [limit.interval_ns, limit.tolerance_ns, limit.full_ns]
}

fn served_key(ifindex: Ifindex, vlan: VlanIds, address: IpAddr) -> ServedKeyWords {
    let key = ServedKey {
        ifindex: ifindex.0,
        vlan,
        address: words(address),
    };
    // SAFETY: both are plain old data of the same size.
    unsafe { std::mem::transmute(key) }
}

/// An address in the order of a packet's bytes; IPv4 is mapped.
fn words(address: IpAddr) -> [u32; 4] {
    let octets = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    let (words, _) = octets.as_chunks::<4>();
    std::array::from_fn(|word| u32::from_ne_bytes(words[word]))
}

fn address(words: [u32; 4]) -> IpAddr {
    let mut octets = [0; 16];
    for (bytes, word) in octets.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_ne_bytes());
    }
    IpAddr::from(octets).to_canonical()
}
