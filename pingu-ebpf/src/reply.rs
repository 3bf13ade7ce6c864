//! Ingress: which packet is the reply that a live slot waits for. Everything about it must be right, and only the first counts.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use pingu_common::{Counter, Slot};

use crate::{
    maps,
    packet::{
        Packet,
        checksum::checksum_is_right,
        echo::{self, EchoKind},
        link::LinkLayer,
    },
};

/// Why a packet is not a reply that counts.
#[derive(Clone, Copy)]
pub enum NotMatched {
    /// No echo reply, or one that names no slot.
    Foreign,
    /// Its slot is dead, or the request was never seen to leave.
    Stale,
    /// Cookie, identifier, sequence or source differ.
    Forged,
    /// It came in by another interface or VLAN.
    WrongUplink,
    /// The probe was answered before.
    Duplicate,
    /// The checksum is wrong.
    Corrupt,
}

impl NotMatched {
    /// In words.
    #[cfg(feature = "log")]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Foreign => "no reply of ours",
            Self::Stale => "reply for a dead or unsent probe",
            Self::Forged => "reply with a wrong cookie, identifier, sequence or source",
            Self::WrongUplink => "reply by another uplink",
            Self::Duplicate => "reply to an answered probe",
            Self::Corrupt => "reply with a wrong checksum",
        }
    }

    /// What it counts as.
    pub fn counter(self) -> Option<Counter> {
        match self {
            Self::Foreign => None,
            Self::Stale => Some(Counter::Stale),
            Self::Forged => Some(Counter::Forged),
            Self::WrongUplink => Some(Counter::WrongUplink),
            Self::Duplicate => Some(Counter::Duplicate),
            Self::Corrupt => Some(Counter::Corrupt),
        }
    }
}

/// Gives the slot that waits for this reply the time.
#[inline(always)]
pub fn try_match<L: LinkLayer, P: Packet>(packet: P) -> Result<(), NotMatched> {
    let echo = echo::echo::<L, P>(packet, EchoKind::Reply).ok_or(NotMatched::Foreign)?;
    let slot = maps::slot(echo.payload.slot).ok_or(NotMatched::Foreign)?;
    // SAFETY: the helper has no precondition.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let state = slot.state();
    if state == 0 {
        return Err(NotMatched::Stale);
    }
    // SAFETY: the pointer comes from a lookup that found it.
    let expected = unsafe { &*slot.expected() };
    if expected.cookie != echo.payload.cookie
        || expected.ident != echo.ident
        || expected.sequence != echo.sequence
        || expected.ip_version != echo.ip_version
        || expected.target != echo.source
    {
        return Err(NotMatched::Forged);
    }
    if expected.ifindex != packet.ifindex() || expected.vlan != echo.vlan {
        return Err(NotMatched::WrongUplink);
    }
    if slot.sent_ns() == 0 {
        return Err(NotMatched::Stale);
    }
    if !Slot::is_armed(state) {
        return Err(NotMatched::Duplicate);
    }
    if !checksum_is_right(packet, &echo) {
        return Err(NotMatched::Corrupt);
    }
    if !slot.answer(Slot::armed(&echo.payload.cookie), now_ns) {
        return Err(NotMatched::Duplicate);
    }
    Ok(())
}
