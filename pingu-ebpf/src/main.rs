//! Entry points and verdicts, nothing else. No program changes a packet but a template of ours, and the only packets that do not
//! pass are the replies that a probe of ours was waiting for.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod fan;
mod icmp_error;
#[cfg(feature = "log")]
mod log;
mod maps;
mod packet;
mod reflect;
mod remark;
mod reply;
mod request;
mod stamp;
mod traffic;

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    helpers::generated::bpf_redirect,
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};

use pingu_common::{Counter, reflector::ReflectCounter};

use crate::{
    packet::{
        PROTOCOL_ICMP, PROTOCOL_ICMPV6, Packet, SocketBuffer, XdpFrame,
        link::{Bare, Ethernet, Glance, Ipv4Bytes, Ipv6Bytes, LinkLayer},
    },
    reflect::{NotReflected, Rewrite},
    traffic::{Egress, IPV4_PROTOCOL, IPV6_NEXT_HEADER, Ingress},
};

/// Lets the programs behind this one decide: `TCX_NEXT` has the same value.
const PASS: i32 = TC_ACT_UNSPEC;
/// Ends a matched reply: `TCX_DROP` has the same value, and TCX knows no gentler end.
const CONSUME: i32 = TC_ACT_SHOT;

/// Egress of a device with Ethernet headers.
#[classifier]
pub fn request_ether(context: TcContext) -> i32 {
    send::<Ethernet>(&context);
    PASS
}

/// Egress of a layer-3 device.
#[classifier]
pub fn request_bare(context: TcContext) -> i32 {
    send::<Bare>(&context);
    PASS
}

/// Ingress of a device with Ethernet headers.
#[classifier]
pub fn reply_ether(context: TcContext) -> i32 {
    consume_or_pass(receive::<Ethernet, _>(SocketBuffer::new(&context)))
}

/// Ingress of a layer-3 device.
#[classifier]
pub fn reply_bare(context: TcContext) -> i32 {
    consume_or_pass(receive::<Bare, _>(SocketBuffer::new(&context)))
}

/// Ingress of a device with Ethernet headers and native XDP.
#[xdp]
pub fn reply_xdp(context: XdpContext) -> u32 {
    if receive::<Ethernet, _>(XdpFrame::new(&context)) {
        xdp_action::XDP_DROP
    } else {
        xdp_action::XDP_PASS
    }
}

/// Ingress of a reflector's device with Ethernet headers and native XDP.
#[xdp]
pub fn reflect_xdp(context: XdpContext) -> u32 {
    let packet = XdpFrame::new(&context);
    if is_no_icmp::<Ethernet, _>(packet) {
        return xdp_action::XDP_PASS;
    }
    match reflected::<Ethernet, _>(packet) {
        Reflection::SendBack => xdp_action::XDP_TX,
        Reflection::Pass => xdp_action::XDP_PASS,
        Reflection::Drop => xdp_action::XDP_DROP,
    }
}

/// Ingress of a reflector's device with Ethernet headers.
#[classifier]
pub fn reflect_ether(context: TcContext) -> i32 {
    let packet = SocketBuffer::new(&context);
    if is_no_icmp::<Ethernet, _>(packet) {
        return PASS;
    }
    send_back_or_pass(packet, reflected::<Ethernet, _>(packet))
}

/// Ingress of a reflector's layer-3 device.
#[classifier]
pub fn reflect_bare(context: TcContext) -> i32 {
    let packet = SocketBuffer::new(&context);
    if is_no_icmp::<Bare, _>(packet) {
        return PASS;
    }
    send_back_or_pass(packet, reflected::<Bare, _>(packet))
}

/// True if a glance shows that the packet is no ICMP: all that forwarded traffic pays for at a reflector's hook.
#[inline(always)]
fn is_no_icmp<L: LinkLayer, P: Packet>(packet: P) -> bool {
    match L::glance(packet) {
        Glance::NoIp => true,
        Glance::Unsure => false,
        Glance::Ipv4 => packet
            .peek::<Ipv4Bytes>(L::IP_OFFSET)
            // SAFETY: `peek` checked the bounds.
            .is_some_and(|ip| unsafe { (*ip)[IPV4_PROTOCOL] } != PROTOCOL_ICMP),
        Glance::Ipv6 => packet
            .peek::<Ipv6Bytes>(L::IP_OFFSET)
            // SAFETY: `peek` checked the bounds.
            .is_some_and(|ip| unsafe { (*ip)[IPV6_NEXT_HEADER] } != PROTOCOL_ICMPV6),
    }
}

/// What is to become of a packet at a reflector's hook.
#[repr(u32)]
enum Reflection {
    SendBack,
    Pass,
    Drop,
}

#[inline(always)]
fn send_back_or_pass(packet: SocketBuffer, reflection: Reflection) -> i32 {
    match reflection {
        // SAFETY: the helper only notes where the packet is to go.
        Reflection::SendBack => unsafe { bpf_redirect(packet.ifindex(), 0) as i32 },
        Reflection::Pass => PASS,
        Reflection::Drop => CONSUME,
    }
}

/// Apart from the entry point, as `matched` is.
#[inline(never)]
fn reflected<L: LinkLayer, P: Rewrite>(packet: P) -> Reflection {
    match reflect::try_reflect::<L, P>(packet) {
        Ok(()) => {
            reflect::note(ReflectCounter::Reflected);
            Reflection::SendBack
        }
        Err(reason) => {
            #[cfg(feature = "log")]
            log::outcome(packet, reason.as_str());
            if let Some(counter) = reason.counter() {
                reflect::note(counter);
            }
            match reason {
                NotReflected::Foreign
                | NotReflected::Refused
                | NotReflected::Corrupt
                | NotReflected::Limited => Reflection::Pass,
                // Half a reply is nobody's.
                NotReflected::Torn => Reflection::Drop,
            }
        }
    }
}

#[inline(always)]
fn consume_or_pass(matched: bool) -> i32 {
    if matched { CONSUME } else { PASS }
}

#[inline(always)]
fn send<L: LinkLayer>(context: &TcContext) {
    let packet = SocketBuffer::new(context);
    if request::is_ours(context) {
        return stamp::<L>(packet);
    }
    if !traffic::is_on() {
        return;
    }
    match L::glance(packet) {
        Glance::NoIp => {}
        Glance::Unsure => traffic::count_slowly::<L, _, Egress>(packet),
        Glance::Ipv4 => {
            if let Some(ip) = packet.peek::<Ipv4Bytes>(L::IP_OFFSET) {
                // SAFETY: `peek` checked the bounds.
                traffic::count_v4::<L, _, Egress>(packet, unsafe { &*ip });
            }
        }
        Glance::Ipv6 => {
            if let Some(ip) = packet.peek::<Ipv6Bytes>(L::IP_OFFSET) {
                // SAFETY: `peek` checked the bounds.
                let ip = unsafe { &*ip };
                // It may be neighbour discovery.
                if ip[IPV6_NEXT_HEADER] == PROTOCOL_ICMPV6 {
                    return traffic::count_slowly::<L, _, Egress>(packet);
                }
                traffic::count_v6::<L, _, Egress>(packet, ip);
            }
        }
    }
}

/// Whether the packet was a reply that counts, and ends here.
#[inline(always)]
fn receive<L: LinkLayer, P: Packet>(packet: P) -> bool {
    match L::glance(packet) {
        Glance::NoIp => return false,
        Glance::Unsure => {}
        Glance::Ipv4 => {
            if let Some(ip) = packet.peek::<Ipv4Bytes>(L::IP_OFFSET) {
                // SAFETY: `peek` checked the bounds.
                let ip = unsafe { &*ip };
                if ip[IPV4_PROTOCOL] != PROTOCOL_ICMP {
                    if traffic::is_on() {
                        traffic::count_v4::<L, P, Ingress>(packet, ip);
                    }
                    return false;
                }
            }
        }
        Glance::Ipv6 => {
            if let Some(ip) = packet.peek::<Ipv6Bytes>(L::IP_OFFSET) {
                // SAFETY: `peek` checked the bounds.
                let ip = unsafe { &*ip };
                if ip[IPV6_NEXT_HEADER] != PROTOCOL_ICMPV6 {
                    if traffic::is_on() {
                        traffic::count_v6::<L, P, Ingress>(packet, ip);
                    }
                    return false;
                }
            }
        }
    }
    matched::<L, P>(packet)
}

/// Apart from the entry point, so that foreign packets pay for no register that only this needs.
#[inline(never)]
fn stamp<L: LinkLayer>(packet: SocketBuffer) {
    match request::try_stamp::<L>(packet) {
        Ok(()) => maps::count(Counter::Stamped),
        Err(reason) => {
            #[cfg(feature = "log")]
            log::outcome(packet, reason.as_str());
            if let Some(counter) = reason.counter() {
                maps::count(counter);
            }
        }
    }
}

/// Whether the packet was a reply that counts, and ends here; apart for the same reason as `stamp`.
#[inline(never)]
fn matched<L: LinkLayer, P: Packet>(packet: P) -> bool {
    match reply::try_match::<L, P>(packet) {
        Ok(()) => {
            maps::count(Counter::Matched);
            reply::is_consumed()
        }
        Err(reason) => {
            #[cfg(feature = "log")]
            log::outcome(packet, reason.as_str());
            match reason.counter() {
                Some(counter) => maps::count(counter),
                None if traffic::is_on() => traffic::count_slowly::<L, P, Ingress>(packet),
                None => {}
            }
            false
        }
    }
}

/// Never runs: an object with a reachable panic does not pass the verifier.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
