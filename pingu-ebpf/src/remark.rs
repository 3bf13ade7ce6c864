//! What is noted beside a probe. Nothing decides by it, so whoever cannot have the entry at once goes without.

use pingu_common::{COOKIE_WORDS, reflection, remark::KEY_BUSY, remark::Remark};

use crate::maps;

/// Other processors hold an entry for some nanoseconds; who meets them more often than this in a row meets a flood.
const TRIES: usize = 8;

/// What a program saw.
#[derive(Clone, Copy)]
pub enum Found {
    Duplicate,
    Corrupt,
    Forged,
    WrongUplink {
        came_in_by: u32,
    },
    Strayed {
        to: u32,
    },
    Error {
        from: [u32; 4],
        ip_version: u32,
        kind: u8,
        code: u8,
    },
    Reflection(reflection::Reflection),
}

/// Notes it beside the probe with this cookie, if the slot still holds that.
#[inline(always)]
pub fn note(number: u32, cookie: &[u32; COOKIE_WORDS], found: Found) {
    let Some(entry) = maps::remark(number) else {
        return;
    };
    for _ in 0..TRIES {
        // SAFETY: the pointer comes from a lookup that found it; map memory outlives the program's run.
        let place = unsafe { &raw mut (*entry).key };
        // SAFETY: as above.
        let key = unsafe { place.read_volatile() };
        if !Remark::is_of(key, cookie) {
            return;
        }
        if key & KEY_BUSY == 0 && maps::compare_exchange(place, key, key | KEY_BUSY) {
            // SAFETY: as above, and the busy bit keeps all other writers away.
            unsafe { write(entry, found) };
            maps::compare_exchange(place, key | KEY_BUSY, Remark::next_key(key));
            return;
        }
    }
}

/// # Safety
/// The entry is valid, and nobody else writes there.
#[inline(always)]
unsafe fn write(entry: *mut Remark, found: Found) {
    // SAFETY: the caller's promise.
    unsafe {
        match found {
            Found::Duplicate => (*entry).duplicates = (*entry).duplicates.saturating_add(1),
            Found::Corrupt => (*entry).corrupt = (*entry).corrupt.saturating_add(1),
            Found::Forged => (*entry).forged = (*entry).forged.saturating_add(1),
            Found::WrongUplink { came_in_by } => {
                (*entry).wrong_uplink = (*entry).wrong_uplink.saturating_add(1);
                (*entry).came_in_by = came_in_by;
            }
            Found::Strayed { to } => (*entry).strayed_to = to,
            Found::Error {
                from,
                ip_version,
                kind,
                code,
            } => {
                (*entry).error_from = from;
                (*entry).error_kind = kind;
                (*entry).error_code = code;
                (*entry).error_ip_version = ip_version as u8;
            }
            Found::Reflection(reflection) => {
                (*entry).reflection_requests = u32::from_be_bytes(reflection.requests);
                (*entry).reflection_received_ns = u64::from_be_bytes(reflection.received_ns);
                (*entry).reflection_sent_ns = u64::from_be_bytes(reflection.sent_ns);
                (*entry).is_reflected = 1;
            }
        }
    }
}
