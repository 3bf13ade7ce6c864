//! The one reader of packets: every access is checked against the packet's end here. Reads Ethernet with up to two VLAN tags
//! or bare IP, IPv4 with options, IPv6 without extension headers; whatever it does not know is foreign.

use core::{
    arch::asm,
    mem::{MaybeUninit, size_of},
};

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_skb_load_bytes, bpf_xdp_load_bytes},
    programs::{TcContext, XdpContext},
};
use pingu_common::{
    CHECKSUM_BLOCK_BYTES, CHECKSUM_BLOCKS_MAX, ICMP_HEADER_BYTES, PAYLOAD_HEADER_BYTES, Payload,
    VlanIds,
};

const ETHER_TYPE_IPV4: u16 = 0x0800_u16.to_be();
const ETHER_TYPE_IPV6: u16 = 0x86dd_u16.to_be();
const ETHER_TYPE_VLAN: u16 = 0x8100_u16.to_be();
const ETHER_TYPE_VLAN_OUTER: u16 = 0x88a8_u16.to_be();
const ETHERNET_BYTES: usize = 14;
const VLAN_BYTES: usize = 4;
const VLAN_ID_MASK: u16 = 0x0fff;
/// More fragments, or an offset.
const FRAGMENT_MASK: u16 = 0x3fff_u16.to_be();
const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_ICMPV6: u8 = 58;
/// `::ffff:0:0/96`, third word.
const IPV4_MAPPED: u32 = 0xffff_u32.to_be();

/// A packet at one of the hooks. Offsets count from its first byte.
pub trait Packet: Copy {
    /// The interface whose hook this is.
    fn ifindex(self) -> u32;
    /// What the kernel handed to the program.
    #[cfg(feature = "log")]
    fn context(self) -> *mut core::ffi::c_void;
    /// Bytes of the whole packet.
    fn bytes(self) -> usize;
    /// The VLAN tag that the kernel or the hardware took out of the packet.
    fn tag(self) -> Option<u16>;
    /// A pointer to `T` inside the part of the packet that lies in one piece, if it holds one there.
    fn peek<T>(self, offset: usize) -> Option<*const T>;
    /// Copies `T` from anywhere in the packet.
    fn copy<T: Copy>(self, offset: usize) -> Option<T>;

    /// Copies so many bytes, 1 to 63, to the head of a block.
    fn copy_part(self, offset: usize, bytes: usize, block: &mut Block) -> bool;

    /// Reads `T`, which must be valid for any bytes.
    #[inline(always)]
    fn read<T: Copy>(self, offset: usize) -> Option<T> {
        match self.peek::<T>(offset) {
            // SAFETY: `peek` checked the bounds. IP headers lie on the alignment that the kernel gives them, and where that is
            // none, loads need none.
            Some(value) => Some(unsafe { *value }),
            None => self.copy(offset),
        }
    }
}

/// A socket buffer at a TCX or clsact hook.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct SocketBuffer(*mut __sk_buff);

impl SocketBuffer {
    #[inline(always)]
    pub fn new(context: &TcContext) -> Self {
        Self(context.skb.skb)
    }
}

impl Packet for SocketBuffer {
    #[inline(always)]
    fn ifindex(self) -> u32 {
        // SAFETY: the kernel hands the program a valid context; so below.
        unsafe { (*self.0).ifindex }
    }

    #[cfg(feature = "log")]
    fn context(self) -> *mut core::ffi::c_void {
        self.0.cast()
    }

    #[inline(always)]
    fn bytes(self) -> usize {
        // SAFETY: see `ifindex`.
        unsafe { (*self.0).len as usize }
    }

    #[inline(always)]
    fn tag(self) -> Option<u16> {
        // SAFETY: see `ifindex`.
        unsafe { ((*self.0).vlan_present != 0).then(|| (*self.0).vlan_tci as u16) }
    }

    #[inline(always)]
    fn peek<T>(self, offset: usize) -> Option<*const T> {
        // SAFETY: see `ifindex`.
        let (start, end) = unsafe { ((*self.0).data as usize, (*self.0).data_end as usize) };
        within(start, end, offset)
    }

    #[inline(always)]
    fn copy<T: Copy>(self, offset: usize) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes all of `value` or fails.
        unsafe {
            let bytes = size_of::<T>() as u32;
            (bpf_skb_load_bytes(
                self.0.cast(),
                offset as u32,
                value.as_mut_ptr().cast(),
                bytes,
            ) == 0)
                .then(|| value.assume_init())
        }
    }

    #[inline(always)]
    fn copy_part(self, offset: usize, bytes: usize, block: &mut Block) -> bool {
        // SAFETY: fewer bytes are written than the block has.
        unsafe {
            bpf_skb_load_bytes(
                self.0.cast(),
                offset as u32,
                block.as_mut_ptr().cast(),
                part(bytes),
            ) == 0
        }
    }
}

/// A frame at the XDP hook, always in one piece: the program is not loaded as one that takes fragments.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct XdpFrame(*mut aya_ebpf::bindings::xdp_md);

impl XdpFrame {
    #[inline(always)]
    pub fn new(context: &XdpContext) -> Self {
        Self(context.ctx)
    }
}

impl Packet for XdpFrame {
    #[inline(always)]
    fn ifindex(self) -> u32 {
        // SAFETY: the kernel hands the program a valid context; so below.
        unsafe { (*self.0).ingress_ifindex }
    }

    #[cfg(feature = "log")]
    fn context(self) -> *mut core::ffi::c_void {
        self.0.cast()
    }

    #[inline(always)]
    fn bytes(self) -> usize {
        // SAFETY: see `ifindex`.
        unsafe { (*self.0).data_end as usize - (*self.0).data as usize }
    }

    #[inline(always)]
    fn tag(self) -> Option<u16> {
        None
    }

    #[inline(always)]
    fn peek<T>(self, offset: usize) -> Option<*const T> {
        // SAFETY: see `ifindex`.
        let (start, end) = unsafe { ((*self.0).data as usize, (*self.0).data_end as usize) };
        within(start, end, offset)
    }

    #[inline(always)]
    fn copy<T: Copy>(self, _offset: usize) -> Option<T> {
        None
    }

    #[inline(always)]
    fn copy_part(self, offset: usize, bytes: usize, block: &mut Block) -> bool {
        // SAFETY: fewer bytes are written than the block has.
        unsafe {
            bpf_xdp_load_bytes(
                self.0,
                offset as u32,
                block.as_mut_ptr().cast(),
                part(bytes),
            ) == 0
        }
    }
}

/// The length of a part, 1 to 63, in a form that the verifier believes. The compiler knows the bounds already and would drop them; it
/// does not see through the instruction.
#[inline(always)]
fn part(bytes: usize) -> u32 {
    let mut bytes = bytes as u64 - 1;
    // SAFETY: copies a register to itself.
    unsafe { asm!("{0} = {0}", inout(reg) bytes, options(pure, nomem, nostack)) };
    (bytes & (CHECKSUM_BLOCK_BYTES as u64 - 1)) as u32 + 1
}

#[inline(always)]
fn within<T>(start: usize, end: usize, offset: usize) -> Option<*const T> {
    let at = start + offset;
    (at + size_of::<T>() <= end).then_some(at as *const T)
}

/// Whether a device's packets begin with an Ethernet header: a property of the program, not of the packet.
pub trait LinkLayer {
    /// True if a glance shows that the packet is no ICMP. This is all that forwarded traffic pays for.
    fn is_surely_foreign<P: Packet>(packet: P) -> bool;
    /// Finds the IP header.
    fn network<P: Packet>(packet: P) -> Option<Network>;
}

const CHECKSUM_BLOCK_WORDS: usize = CHECKSUM_BLOCK_BYTES / 4;

/// What is summed at once.
pub type Block = [u32; CHECKSUM_BLOCK_WORDS];

/// Where the IP header begins, and what stood before it.
pub struct Network {
    offset: usize,
    is_ipv4: bool,
    vlan: VlanIds,
}

/// Packets begin with an Ethernet header.
pub struct Ethernet;

/// Packets begin with the IP header.
pub struct Bare;

#[repr(C)]
struct EthernetGlance {
    addresses: [u16; 6],
    ether_type: u16,
    ip: [u8; 10],
}

/// Where an IPv4 header says what it carries.
const IPV4_PROTOCOL: usize = 9;
/// Where an IPv6 header says what follows.
const IPV6_NEXT_HEADER: usize = 6;
/// Where the two addresses of an IPv6 header begin.
const IPV6_ADDRESSES: usize = 8;
const IPV6_ADDRESS_WORDS: usize = 8;

impl LinkLayer for Ethernet {
    #[inline(always)]
    fn is_surely_foreign<P: Packet>(packet: P) -> bool {
        let Some(glance) = packet.peek::<EthernetGlance>(0) else {
            return false;
        };
        // SAFETY: `peek` checked the bounds.
        let glance = unsafe { &*glance };
        match glance.ether_type {
            ETHER_TYPE_IPV4 => glance.ip[IPV4_PROTOCOL] != PROTOCOL_ICMP,
            ETHER_TYPE_IPV6 => glance.ip[IPV6_NEXT_HEADER] != PROTOCOL_ICMPV6,
            ETHER_TYPE_VLAN | ETHER_TYPE_VLAN_OUTER => false,
            _ => true,
        }
    }

    #[inline(always)]
    fn network<P: Packet>(packet: P) -> Option<Network> {
        let mut vlan = VlanIds::default();
        let mut tags = 0;
        if let Some(tag) = packet.tag() {
            add_tag(&mut vlan, tag);
            tags += 1;
        }
        let mut ether_type = packet.read::<u16>(ETHERNET_BYTES - 2)?;
        let mut offset = ETHERNET_BYTES;
        for _ in 0..2 {
            if ether_type != ETHER_TYPE_VLAN && ether_type != ETHER_TYPE_VLAN_OUTER {
                break;
            }
            let [tag, inner_type] = packet.read::<[u16; 2]>(offset)?;
            add_tag(&mut vlan, u16::from_be(tag));
            ether_type = inner_type;
            offset += VLAN_BYTES;
            tags += 1;
        }
        if tags > 2 {
            return None;
        }
        match ether_type {
            ETHER_TYPE_IPV4 => Some(Network {
                offset,
                is_ipv4: true,
                vlan,
            }),
            ETHER_TYPE_IPV6 => Some(Network {
                offset,
                is_ipv4: false,
                vlan,
            }),
            _ => None,
        }
    }
}

/// A priority tag (id 0) names no VLAN.
#[inline(always)]
fn add_tag(vlan: &mut VlanIds, tag: u16) {
    let id = tag & VLAN_ID_MASK;
    if id == 0 {
        return;
    }
    if vlan.outer == 0 {
        vlan.outer = id;
    } else {
        vlan.inner = id;
    }
}

impl LinkLayer for Bare {
    #[inline(always)]
    fn is_surely_foreign<P: Packet>(packet: P) -> bool {
        let Some(glance) = packet.peek::<[u8; 10]>(0) else {
            return false;
        };
        // SAFETY: `peek` checked the bounds.
        let glance = unsafe { &*glance };
        match glance[0] >> 4 {
            4 => glance[IPV4_PROTOCOL] != PROTOCOL_ICMP,
            6 => glance[IPV6_NEXT_HEADER] != PROTOCOL_ICMPV6,
            _ => true,
        }
    }

    #[inline(always)]
    fn network<P: Packet>(packet: P) -> Option<Network> {
        // Four bytes for one: `start + 1 <= end` becomes `start < end`, from which the verifier learns nothing.
        let [version, ..] = packet.read::<[u8; 4]>(0)?;
        let is_ipv4 = match version >> 4 {
            4 => true,
            6 => false,
            _ => return None,
        };
        Some(Network {
            offset: 0,
            is_ipv4,
            vlan: VlanIds::default(),
        })
    }
}

/// Which of the two echo messages a hook looks for.
#[derive(Clone, Copy)]
pub enum EchoKind {
    Request,
    Reply,
}

/// An ICMP or ICMPv6 echo message that is long enough to be a probe's.
pub struct Echo {
    pub payload: Payload,
    /// In the packet's byte order.
    pub ident: u16,
    /// In the packet's byte order.
    pub sequence: u16,
    /// In the packet's byte order; IPv4 is mapped.
    pub source: [u32; 4],
    pub ip_version: u32,
    pub vlan: VlanIds,
    ip_offset: usize,
    icmp_offset: usize,
    icmp_bytes: usize,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Ipv4Header {
    version_and_length: u8,
    service: u8,
    total_bytes: u16,
    identification: u16,
    fragment: u16,
    ttl: u8,
    protocol: u8,
    checksum: u16,
    source: u32,
    destination: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Ipv6Header {
    version_and_class: u8,
    class_and_flow: [u8; 3],
    payload_bytes: u16,
    next_header: u8,
    hop_limit: u8,
    source: [u32; 4],
    destination: [u32; 4],
}

#[derive(Clone, Copy)]
#[repr(C)]
struct EchoHeader {
    kind: u8,
    code: u8,
    checksum: u16,
    ident: u16,
    sequence: u16,
    payload: Payload,
}

/// Reads a packet as an echo message of this kind; none if it is anything else.
#[inline(always)]
pub fn echo<L: LinkLayer, P: Packet>(packet: P, kind: EchoKind) -> Option<Echo> {
    let network = L::network(packet)?;
    let ip_offset = network.offset;
    let wanted;
    let source;
    let icmp_offset;
    let icmp_bytes;
    if network.is_ipv4 {
        let ip = packet.read::<Ipv4Header>(ip_offset)?;
        let header_bytes = usize::from(ip.version_and_length & 0x0f) * 4;
        let total_bytes = usize::from(u16::from_be(ip.total_bytes));
        if ip.version_and_length >> 4 != 4
            || ip.protocol != PROTOCOL_ICMP
            || ip.fragment & FRAGMENT_MASK != 0
            || header_bytes < size_of::<Ipv4Header>()
            || total_bytes < header_bytes
            || ip_offset + total_bytes > packet.bytes()
        {
            return None;
        }
        wanted = match kind {
            EchoKind::Request => 8,
            EchoKind::Reply => 0,
        };
        source = [0, 0, IPV4_MAPPED, ip.source];
        icmp_offset = ip_offset + header_bytes;
        icmp_bytes = total_bytes - header_bytes;
    } else {
        let ip = packet.read::<Ipv6Header>(ip_offset)?;
        icmp_bytes = usize::from(u16::from_be(ip.payload_bytes));
        icmp_offset = ip_offset + size_of::<Ipv6Header>();
        if ip.version_and_class >> 4 != 6
            || ip.next_header != PROTOCOL_ICMPV6
            || icmp_offset + icmp_bytes > packet.bytes()
        {
            return None;
        }
        wanted = match kind {
            EchoKind::Request => 128,
            EchoKind::Reply => 129,
        };
        source = ip.source;
    }
    if icmp_bytes < ICMP_HEADER_BYTES + PAYLOAD_HEADER_BYTES {
        return None;
    }
    let icmp = packet.read::<EchoHeader>(icmp_offset)?;
    if icmp.kind != wanted || icmp.code != 0 {
        return None;
    }
    Some(Echo {
        payload: icmp.payload,
        ident: icmp.ident,
        sequence: icmp.sequence,
        source,
        ip_version: if network.is_ipv4 { 4 } else { 6 },
        vlan: network.vlan,
        ip_offset,
        icmp_offset,
        icmp_bytes,
    })
}

/// Whether the message's ICMP checksum is right (RFC 792, RFC 4443 §2.3). A message longer than any of ours is not.
#[inline(always)]
pub fn checksum_is_right<P: Packet>(packet: P, echo: &Echo) -> bool {
    let Some(mut sum) = sum_message(packet, echo.icmp_offset, echo.icmp_bytes) else {
        return false;
    };
    if echo.ip_version == 6 {
        let Some(addresses) =
            sum_words::<P, IPV6_ADDRESS_WORDS>(packet, echo.ip_offset + IPV6_ADDRESSES)
        else {
            return false;
        };
        sum += addresses;
        sum += u64::from((echo.icmp_bytes as u32).to_be());
        sum += u64::from(u32::from(PROTOCOL_ICMPV6).to_be());
    }
    // 64 bits into 16: each step leaves a carry that the next one takes in.
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum == 0xffff
}

#[inline(always)]
fn sum_message<P: Packet>(packet: P, start: usize, bytes: usize) -> Option<u64> {
    let mut sum = 0;
    let mut offset = start;
    let mut left = bytes;
    for _ in 0..CHECKSUM_BLOCKS_MAX {
        if left < CHECKSUM_BLOCK_BYTES {
            break;
        }
        sum += sum_words::<P, CHECKSUM_BLOCK_WORDS>(packet, offset)?;
        offset += CHECKSUM_BLOCK_BYTES;
        left -= CHECKSUM_BLOCK_BYTES;
    }
    if left != 0 {
        let mut tail: Block = [0; CHECKSUM_BLOCK_WORDS];
        if left >= CHECKSUM_BLOCK_BYTES || !packet.copy_part(offset, left, &mut tail) {
            return None;
        }
        sum += sum_of(&tail);
    }
    Some(sum)
}

/// The sum of so many words of 32 bits; fixed in number, so that the compiler unrolls it and the verifier sees no loop.
#[inline(always)]
fn sum_words<P: Packet, const WORDS: usize>(packet: P, offset: usize) -> Option<u64> {
    match packet.peek::<[u32; WORDS]>(offset) {
        // SAFETY: `peek` checked the bounds.
        Some(words) => Some(sum_of(unsafe { &*words })),
        None => packet
            .copy::<[u32; WORDS]>(offset)
            .map(|words| sum_of(&words)),
    }
}

#[inline(always)]
fn sum_of<const WORDS: usize>(words: &[u32; WORDS]) -> u64 {
    let mut sum = 0;
    for word in words {
        sum += u64::from(*word);
    }
    sum
}
