//! Egress: a template of user space becomes several probes, each a clone of it that leaves by the same interface and passes the
//! egress hook for itself.

use core::{
    arch::asm,
    mem::{MaybeUninit, size_of},
};

use aya_ebpf::helpers::generated::{bpf_clone_redirect, bpf_skb_load_bytes, bpf_skb_store_bytes};
use pingu_common::fan::{FAN_PROBES_MAX, HEAD_IP_BYTES, Head};

use crate::{
    maps,
    packet::{Packet, SocketBuffer, echo::Echo},
};

/// Sends a clone for every probe of the template but the last, which the packet itself becomes. None if it is no template that user
/// space has just sent, or one that it did not prepare; then nothing has been done.
#[inline(always)]
pub fn spread(packet: SocketBuffer, template: &Echo) -> Option<()> {
    let fan = maps::fan()?;
    // SAFETY: the pointer comes from a lookup that found it. User space writes here only while no template is on its way, and waits
    // in the system call until this has returned.
    let fan = unsafe { &mut *fan };
    let mut count = fan.count as usize;
    if count == 0 || count > FAN_PROBES_MAX || fan.cookie != template.payload.cookie {
        return None;
    }
    // The compiler does not see through the instruction, or it would know that the loop ends by the count and leave out the bound of
    // its own, which the verifier needs: that of Linux 6.1 takes no bound of `count` from a comparison of `count - 1`.
    // SAFETY: copies a register to itself.
    unsafe { asm!("{0} = {0}", inout(reg) count, options(pure, nomem, nostack)) };
    fan.count = 0;
    let offset = template.message.icmp_offset.checked_sub(HEAD_IP_BYTES)?;
    let mut head = load(packet, offset)?;
    for place in 0..FAN_PROBES_MAX {
        let number = fan.slots[place];
        // SAFETY: as above; user space fills a slot before it sends.
        let slot = unsafe { &*maps::slot(number)?.expected() };
        head.become_probe(number, slot, fan.sums);
        store(packet, offset, &head)?;
        if place + 1 >= count {
            return Some(());
        }
        // SAFETY: the context is valid; pointers into the packet are not kept across this.
        let result = unsafe { bpf_clone_redirect(packet.buffer(), packet.ifindex(), 0) };
        fan.results[place] = result as i32;
    }
    None
}

#[inline(always)]
fn load(packet: SocketBuffer, offset: usize) -> Option<Head> {
    let mut head = MaybeUninit::<Head>::uninit();
    let bytes = size_of::<Head>() as u32;
    // SAFETY: the helper writes all of `head` or fails.
    unsafe {
        let to = head.as_mut_ptr().cast();
        let loaded = bpf_skb_load_bytes(packet.buffer().cast(), offset as u32, to, bytes) == 0;
        loaded.then(|| head.assume_init())
    }
}

#[inline(always)]
fn store(packet: SocketBuffer, offset: usize, head: &Head) -> Option<()> {
    let bytes = size_of::<Head>() as u32;
    let from = (&raw const *head).cast();
    // SAFETY: the helper reads so many bytes of `head`, and checks the packet's bounds.
    let stored =
        unsafe { bpf_skb_store_bytes(packet.buffer(), offset as u32, from, bytes, 0) } == 0;
    stored.then_some(())
}
