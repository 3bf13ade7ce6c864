//! The one reader of packets: every access is checked against the packet's end here. The modules below read Ethernet with up to two VLAN
//! tags or bare IP, IPv4 with options, IPv6 without extension headers; whatever they do not know is foreign.

use core::{
    arch::asm,
    mem::{MaybeUninit, size_of},
};

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_skb_load_bytes, bpf_xdp_load_bytes},
    programs::{TcContext, XdpContext},
};
use pingu_common::CHECKSUM_BLOCK_BYTES;

pub mod checksum;
pub mod echo;
pub mod icmp;
pub mod link;

pub const PROTOCOL_ICMP: u8 = 1;
pub const PROTOCOL_TCP: u8 = 6;
pub const PROTOCOL_ICMPV6: u8 = 58;

/// `pkt_type` of a packet that is for this host.
const PACKET_HOST: u32 = 0;

const CHECKSUM_BLOCK_WORDS: usize = CHECKSUM_BLOCK_BYTES / 4;

/// What is summed at once.
pub type Block = [u32; CHECKSUM_BLOCK_WORDS];

/// A packet at one of the hooks. Offsets count from its first byte.
pub trait Packet: Copy {
    /// Whether the place at which the kernel takes its own receive stamp lies before the hook: a capture and every socket tell that one.
    const IS_STAMPED: bool;

    /// The interface whose hook this is.
    fn ifindex(self) -> u32;
    /// What the kernel handed to the program.
    #[cfg(feature = "log")]
    fn context(self) -> *mut core::ffi::c_void;
    /// Bytes of the whole packet.
    fn bytes(self) -> usize;
    /// Bytes that it takes on the wire, where the kernel cuts it up later.
    fn wire_bytes(self) -> usize;
    /// Whether its link header names this host; true where the hook does not know.
    fn is_for_this_host(self) -> bool;
    /// When the kernel received it, as time of the real-time clock in nanoseconds; 0 where it did not look at the clock.
    fn kernel_stamp_ns(self) -> u64;
    /// The VLAN tag that the kernel or the hardware took out of the packet.
    fn tag(self) -> Option<u16>;
    /// A pointer to `T` inside the part of the packet that lies in one piece, if it holds one there.
    fn peek<T>(self, offset: usize) -> Option<*const T>;
    /// Copies `T` from anywhere in the packet.
    fn copy<T: Copy>(self, offset: usize) -> Option<T>;

    /// Copies `T` from anywhere in the packet by one call and no comparison: slower, and less for the verifier to walk through.
    fn load<T: Copy>(self, offset: usize) -> Option<T>;
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

    /// What helpers that change packets take.
    #[inline(always)]
    pub fn buffer(self) -> *mut __sk_buff {
        self.0
    }
}

impl Packet for SocketBuffer {
    const IS_STAMPED: bool = true;

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
    fn wire_bytes(self) -> usize {
        // SAFETY: see `ifindex`.
        unsafe { (*self.0).wire_len as usize }
    }

    #[inline(always)]
    fn is_for_this_host(self) -> bool {
        // SAFETY: see `ifindex`.
        unsafe { (*self.0).pkt_type == PACKET_HOST }
    }

    #[inline(always)]
    fn kernel_stamp_ns(self) -> u64 {
        // SAFETY: see `ifindex`. Where the field is a time at which to send, the kernel shows 0 here.
        unsafe { (*self.0).tstamp }
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
    fn load<T: Copy>(self, offset: usize) -> Option<T> {
        self.copy(offset)
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
    const IS_STAMPED: bool = false;

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
    fn wire_bytes(self) -> usize {
        self.bytes()
    }

    #[inline(always)]
    fn is_for_this_host(self) -> bool {
        true
    }

    #[inline(always)]
    fn kernel_stamp_ns(self) -> u64 {
        0
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
    fn load<T: Copy>(self, offset: usize) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes all of `value` or fails.
        unsafe {
            let bytes = size_of::<T>() as u32;
            (bpf_xdp_load_bytes(self.0, offset as u32, value.as_mut_ptr().cast(), bytes) == 0)
                .then(|| value.assume_init())
        }
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
