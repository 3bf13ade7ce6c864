//! A reflector's program on an interface, and whether it still is there.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::ReflectHook;
use crate::{
    probe::kernel::{
        AttachError,
        attach::{self, Direction, Hook, LinkKind, Wanted},
        clsact::{Filter, Owner},
    },
    units::Ifindex,
};

/// A program on an interface. Dropping it takes the program off.
pub struct Attached {
    ifindex: Ifindex,
    place: ReflectHook,
    hook: Hook,
}

impl Attached {
    pub(super) fn frames(program: BorrowedFd<'_>, ifindex: Ifindex) -> Result<Self, AttachError> {
        let link = attach::link(program, ifindex, LinkKind::XdpNative);
        let link = link.map_err(|source| AttachError::Hook {
            hook: "XDP",
            ifindex,
            source,
        })?;
        Filter::remove_leftover(Owner::Reflector, ifindex, Direction::Ingress);
        Ok(Self {
            ifindex,
            place: ReflectHook::Xdp,
            hook: Hook::Link(link),
        })
    }

    pub(super) fn classifier(
        program: BorrowedFd<'_>,
        ifindex: Ifindex,
        wanted: Wanted,
    ) -> Result<Self, AttachError> {
        let (owner, direction) = (Owner::Reflector, Direction::Ingress);
        let hook = attach::classifier(program, owner, ifindex, direction, wanted)?;
        let place = match hook {
            Hook::Link(_) => {
                Filter::remove_leftover(owner, ifindex, direction);
                ReflectHook::Tcx
            }
            Hook::Filter(_) => ReflectHook::Clsact,
        };
        Ok(Self {
            ifindex,
            place,
            hook,
        })
    }

    /// Where it sits.
    pub fn hook(&self) -> ReflectHook {
        self.place
    }

    /// Whether the program still is on its interface: it goes with a device that is deleted or moved to another namespace, and does not
    /// return with one of the same number.
    pub fn is_alive(&self) -> bool {
        match &self.hook {
            Hook::Link(link) => ifindex_of(link) == Some(self.ifindex.0),
            Hook::Filter(filter) => filter.is_there().unwrap_or_else(|error| {
                tracing::debug!(ifindex = %self.ifindex, %error, "no look at the filter");
                true
            }),
        }
    }
}

/// The interface that a link is on.
fn ifindex_of(link: &OwnedFd) -> Option<u32> {
    let mut info = LinkInfo::default();
    let attributes = ObjectInfo {
        fd: link.as_raw_fd() as u32,
        info_bytes: size_of::<LinkInfo>() as u32,
        info: (&raw mut info) as u64,
    };
    // SAFETY: the attributes and what they point to live through the call, with their sizes given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_OBJ_GET_INFO_BY_FD,
            &raw const attributes,
            size_of::<ObjectInfo>(),
        )
    };
    (result == 0).then_some(info.ifindex)
}

const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;

/// The part of `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct ObjectInfo {
    fd: u32,
    info_bytes: u32,
    info: u64,
}

/// The head of `struct bpf_link_info` for XDP and TCX.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    ifindex: u32,
    attach_type: u32,
}
