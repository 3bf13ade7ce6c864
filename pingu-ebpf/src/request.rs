//! Egress: the time at which a request of ours left, and the proof that it left by its own interface. A template becomes its
//! probes first.

use aya_ebpf::{helpers::bpf_ktime_get_ns, programs::TcContext};
use pingu_common::{Counter, MARK, Slot, fan::FAN_SLOT};

use crate::{
    fan, maps,
    packet::{
        Packet, SocketBuffer,
        echo::{self, EchoKind},
        link::LinkLayer,
    },
    remark::{self, Found},
};

/// Why a packet with our mark was not stamped.
#[derive(Clone, Copy)]
pub enum NotStamped {
    /// No echo request of ours, or one whose slot was armed for another probe since.
    Foreign,
    /// It passed a hook before.
    StampedBefore,
    /// It leaves by another interface than its own.
    Strayed,
}

impl NotStamped {
    /// In words.
    #[cfg(feature = "log")]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Foreign => "no request of ours",
            Self::StampedBefore => "request stamped before",
            Self::Strayed => "request on another interface than its own",
        }
    }

    /// What it counts as.
    pub fn counter(self) -> Option<Counter> {
        match self {
            Self::Foreign | Self::StampedBefore => None,
            Self::Strayed => Some(Counter::Strayed),
        }
    }
}

/// The one question that a foreign packet is asked.
#[inline(always)]
pub fn is_ours(context: &TcContext) -> bool {
    // SAFETY: the kernel hands the program a valid context.
    unsafe { (*context.skb.skb).mark == MARK }
}

/// Stamps the request's slot.
#[inline(always)]
pub fn try_stamp<L: LinkLayer>(packet: SocketBuffer) -> Result<(), NotStamped> {
    let mut echo = echo::echo::<L, _>(packet, EchoKind::Request).ok_or(NotStamped::Foreign)?;
    if echo.payload.slot == FAN_SLOT {
        fan::spread(packet, &echo).ok_or(NotStamped::Foreign)?;
        echo = echo::echo::<L, _>(packet, EchoKind::Request).ok_or(NotStamped::Foreign)?;
    }
    let slot = maps::slot(echo.payload.slot).ok_or(NotStamped::Foreign)?;
    // SAFETY: the pointer comes from a lookup that found it.
    let expected = unsafe { &*slot.expected() };
    if slot.state() != Slot::armed(&echo.payload.cookie) || expected.cookie != echo.payload.cookie {
        return Err(NotStamped::Foreign);
    }
    if slot.sent_ns() != 0 {
        return Err(NotStamped::StampedBefore);
    }
    if expected.ifindex != packet.ifindex() || expected.vlan != echo.message.vlan {
        let to = packet.ifindex();
        remark::note(
            echo.payload.slot,
            &echo.payload.cookie,
            Found::Strayed { to },
        );
        return Err(NotStamped::Strayed);
    }
    // SAFETY: the helper has no precondition.
    slot.set_sent_ns(unsafe { bpf_ktime_get_ns() });
    Ok(())
}
