//! Puts programs on an interface's hooks and takes them off again. TCX and XDP hold by a file descriptor that is pinned nowhere,
//! so they end with the process, however it ends; no hook of anybody else is displaced.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use aya::Ebpf;
use pingu_common::{
    PROGRAM_REPLY_BARE, PROGRAM_REPLY_ETHERNET, PROGRAM_REPLY_XDP, PROGRAM_REQUEST_BARE,
    PROGRAM_REQUEST_ETHERNET,
};

use super::{
    AttachError,
    clsact::{self, Owner},
    sender::Sender,
};
use crate::{config::ReceiveHook, probe::EngineKind, units::Ifindex};

/// The programs for one kind of device.
pub(super) struct Programs<'a> {
    request: BorrowedFd<'a>,
    reply: BorrowedFd<'a>,
    /// Only where native XDP was asked for and the device has Ethernet headers.
    reply_xdp: Option<BorrowedFd<'a>>,
}

/// Where programs are put.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) receive: ReceiveHook,
    /// Whose place among the filters of clsact, where these serve.
    pub(super) owner: Owner,
}

impl<'a> Programs<'a> {
    pub(super) fn of(
        ebpf: &'a Ebpf,
        bare: bool,
        receive: ReceiveHook,
    ) -> Result<Self, AttachError> {
        let fd = |name| {
            let program = ebpf.program(name).ok_or(AttachError::NotLoaded(name))?;
            Ok(program
                .fd()
                .map_err(|_| AttachError::NotLoaded(name))?
                .as_fd())
        };
        let (request, reply) = if bare {
            (PROGRAM_REQUEST_BARE, PROGRAM_REPLY_BARE)
        } else {
            (PROGRAM_REQUEST_ETHERNET, PROGRAM_REPLY_ETHERNET)
        };
        let reply_xdp = (receive == ReceiveHook::Xdp && !bare)
            .then(|| fd(PROGRAM_REPLY_XDP))
            .transpose()?;
        Ok(Self {
            request: fd(request)?,
            reply: fd(reply)?,
            reply_xdp,
        })
    }
}

/// All programs' descriptors once more, for another thread.
pub(super) struct ProgramCopies {
    /// Request and reply.
    ethernet: [OwnedFd; 2],
    bare: [OwnedFd; 2],
    reply_xdp: Option<OwnedFd>,
}

impl ProgramCopies {
    pub(super) fn of(ebpf: &Ebpf, receive: ReceiveHook) -> io::Result<Self> {
        let programs = |bare| Programs::of(ebpf, bare, receive).map_err(io::Error::other);
        let (ethernet, bare) = (programs(false)?, programs(true)?);
        let copy = |fd: BorrowedFd<'_>| fd.try_clone_to_owned();
        Ok(Self {
            ethernet: [copy(ethernet.request)?, copy(ethernet.reply)?],
            bare: [copy(bare.request)?, copy(bare.reply)?],
            reply_xdp: ethernet.reply_xdp.map(copy).transpose()?,
        })
    }

    pub(super) fn for_device(&self, bare: bool) -> Programs<'_> {
        let [request, reply] = if bare { &self.bare } else { &self.ethernet };
        let reply_xdp = self.reply_xdp.as_ref().filter(|_| !bare);
        Programs {
            request: request.as_fd(),
            reply: reply.as_fd(),
            reply_xdp: reply_xdp.map(AsFd::as_fd),
        }
    }
}

/// All that serves one interface: the socket that probes leave by, and the hooks. Dropping it detaches.
pub(crate) struct Attachment {
    pub(super) socket: OwnedFd,
    pub(super) hooks: Hooks,
}

impl Attachment {
    pub(super) fn make(
        ifindex: Ifindex,
        bare: bool,
        programs: &Programs<'_>,
        place: Place,
    ) -> Result<Self, AttachError> {
        let socket = Sender::open_marked(ifindex, bare)
            .map_err(|source| AttachError::Socket { ifindex, source })?;
        let hooks = Hooks::attach(ifindex, programs, place)?;
        Ok(Self { socket, hooks })
    }
}

/// The hooks of one interface. Dropping them detaches.
pub(super) struct Hooks {
    ifindex: Ifindex,
    kind: EngineKind,
    declined: Option<io::Error>,
    _request: Hook,
    _reply: Hook,
}

/// A program at its place. Dropping it takes it off.
pub(super) enum Hook {
    Link(OwnedFd),
    Filter(clsact::Filter),
}

impl Hooks {
    pub(super) fn attach(
        ifindex: Ifindex,
        programs: &Programs<'_>,
        place: Place,
    ) -> Result<Self, AttachError> {
        let mut declined = None;
        // Replies first: a request whose reply cannot be seen would look lost.
        if let Some(program) = programs.reply_xdp {
            match link(program, ifindex, LinkKind::XdpNative) {
                Ok(reply) => {
                    let (request, _) =
                        by_receive_hook(programs.request, ifindex, Direction::Egress, place)?;
                    return Ok(Self {
                        ifindex,
                        kind: EngineKind::Xdp,
                        declined: None,
                        _request: request,
                        _reply: Hook::Link(reply),
                    });
                }
                Err(error) => declined = Some(error),
            }
        } else if place.receive == ReceiveHook::Xdp {
            declined = Some(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
        }
        let (reply, kind) = by_receive_hook(programs.reply, ifindex, Direction::Ingress, place)?;
        let (request, _) = by_receive_hook(programs.request, ifindex, Direction::Egress, place)?;
        Ok(Self {
            ifindex,
            kind,
            declined,
            _request: request,
            _reply: reply,
        })
    }

    pub(super) fn ifindex(&self) -> Ifindex {
        self.ifindex
    }

    pub(super) fn kind(&self) -> EngineKind {
        self.kind
    }

    pub(super) fn declined(&self) -> Option<&io::Error> {
        self.declined.as_ref()
    }
}

/// The way of the packets that a classifier sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Ingress,
    Egress,
}

fn by_receive_hook(
    program: BorrowedFd<'_>,
    ifindex: Ifindex,
    direction: Direction,
    place: Place,
) -> Result<(Hook, EngineKind), AttachError> {
    let wanted = match place.receive {
        ReceiveHook::Auto | ReceiveHook::Xdp => Wanted::Either,
        ReceiveHook::Tcx => Wanted::Tcx,
        ReceiveHook::Clsact => Wanted::Clsact,
    };
    let hook = classifier(program, place.owner, ifindex, direction, wanted)?;
    let kind = match hook {
        Hook::Link(_) => EngineKind::Tcx,
        Hook::Filter(_) => EngineKind::Clsact,
    };
    Ok((hook, kind))
}

/// Where a classifier may sit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// TCX, or clsact where the kernel is older than TCX.
    Either,
    Tcx,
    Clsact,
}

/// Attaches a classifier.
pub(super) fn classifier(
    program: BorrowedFd<'_>,
    owner: Owner,
    ifindex: Ifindex,
    direction: Direction,
    wanted: Wanted,
) -> Result<Hook, AttachError> {
    let by_clsact = || clsact::Filter::attach(program, owner, ifindex, direction).map(Hook::Filter);
    if wanted == Wanted::Clsact {
        return by_clsact();
    }
    let (kind, hook) = match direction {
        Direction::Ingress => (LinkKind::TcxIngress, "TCX ingress"),
        Direction::Egress => (LinkKind::TcxEgress, "TCX egress"),
    };
    match link(program, ifindex, kind) {
        Ok(link) => Ok(Hook::Link(link)),
        // Linux before 6.6 does not know the attach type.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) && wanted == Wanted::Either => {
            by_clsact()
        }
        Err(source) => Err(AttachError::Hook {
            hook,
            ifindex,
            source,
        }),
    }
}

/// The attach types of `enum bpf_attach_type`.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum LinkKind {
    XdpNative = 37,
    TcxIngress = 46,
    TcxEgress = 47,
}

/// The head of `union bpf_attr` for `BPF_LINK_CREATE`, with the longest tail that our kinds have.
#[repr(C)]
struct LinkCreate {
    program_fd: u32,
    ifindex: u32,
    kind: u32,
    flags: u32,
    relative_fd: u32,
    padding: u32,
    expected_revision: u64,
}

const BPF_LINK_CREATE: libc::c_int = 28;
/// Before all others that are there, so that none of them can end a packet's way before we saw it.
const BPF_F_BEFORE: u32 = 1 << 3;
/// In the driver: never the generic hook, which would copy every packet.
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// `BPF_LINK_CREATE` by the interface's number. aya's own attaches TCX by name, which may mean another device by then, and XDP by
/// netlink where a link is refused, which would displace a foreign program.
pub(super) fn link(
    program: BorrowedFd<'_>,
    ifindex: Ifindex,
    kind: LinkKind,
) -> io::Result<OwnedFd> {
    let attributes = LinkCreate {
        program_fd: program.as_raw_fd() as u32,
        ifindex: ifindex.0,
        kind: kind as u32,
        flags: match kind {
            LinkKind::XdpNative => XDP_FLAGS_DRV_MODE,
            LinkKind::TcxIngress | LinkKind::TcxEgress => BPF_F_BEFORE,
        },
        relative_fd: 0,
        padding: 0,
        expected_revision: 0,
    };
    // SAFETY: the attributes live through the call and their size is given; the kernel wants the bytes it does not know to be
    // zero, which they are.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_LINK_CREATE,
            &raw const attributes,
            size_of::<LinkCreate>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just returned this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}
