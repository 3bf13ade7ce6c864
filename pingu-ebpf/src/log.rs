//! What became of an echo packet, said through aya-log. Only in an object built with the feature `log`:
//! a call costs more than all the rest.

use core::ffi::c_void;

use aya_ebpf::EbpfContext;
use aya_log_ebpf::debug;

use crate::packet::Packet;

/// Says why a packet did not count.
#[inline(never)]
pub fn outcome<P: Packet>(packet: P, reason: &str) {
    debug!(
        &Context(packet.context()),
        "interface {}: {}",
        packet.ifindex(),
        reason
    );
}

struct Context(*mut c_void);

impl EbpfContext for Context {
    fn as_ptr(&self) -> *mut c_void {
        self.0
    }
}
