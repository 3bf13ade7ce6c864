//! Filters of the clsact qdisc, for kernels without TCX. A filter outlives its process, so ours stand at fixed places and bear names: the
//! next start replaces what a killed one left, and nothing piles up.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::{AttachError, attach::Direction};
use crate::units::Ifindex;

/// Before all other filters, so that none of them can end a packet's way before we saw it.
const PRIORITY: u16 = 1;
/// Whose a filter is. Each has a place of its own, so that they can share an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Prober,
    /// The prober of a script.
    Script,
    Reflector,
}

const OWNERS: [Owner; 3] = [Owner::Prober, Owner::Script, Owner::Reflector];

impl Owner {
    fn handle(self) -> u32 {
        match self {
            // "PING", "PSCR" and "PREF" in ASCII.
            Self::Prober => 0x5049_4e47,
            Self::Script => 0x5053_4352,
            Self::Reflector => 0x5052_4546,
        }
    }

    /// A filter's name, by which a leftover is told from a foreign filter. It says whether the qdisc is ours to remove, too: whoever takes
    /// a leftover over, or goes last, could not know it.
    fn name(self, made_qdisc: bool) -> &'static str {
        match (self, made_qdisc) {
            (Self::Prober, false) => "pingu",
            (Self::Prober, true) => "pingu-qdisc",
            (Self::Script, false) => "pingu-script",
            (Self::Script, true) => "pingu-script-qdisc",
            (Self::Reflector, false) => "pingu-reflect",
            (Self::Reflector, true) => "pingu-reflect-qdisc",
        }
    }
}

const ETH_P_ALL: u16 = 0x0003;
/// Longer than any answer about one filter; a dump of many comes in pieces of at most this.
const ANSWER_BYTES_MAX: usize = 32 * 1024;
/// Pieces of a dump; more filters than fit in these are not ours to count.
const ANSWERS_MAX: usize = 64;

/// One of our filters. Dropping it removes it, and the qdisc with it if we made it and nobody else uses it.
pub(super) struct Filter {
    owner: Owner,
    ifindex: Ifindex,
    direction: Direction,
    made_qdisc: bool,
}

impl Filter {
    pub(super) fn attach(
        program: BorrowedFd<'_>,
        owner: Owner,
        ifindex: Ifindex,
        direction: Direction,
    ) -> Result<Self, AttachError> {
        let hook = match direction {
            Direction::Ingress => "clsact ingress",
            Direction::Egress => "clsact egress",
        };
        let failed = |source| AttachError::Hook {
            hook,
            ifindex,
            source,
        };
        let connection = Connection::open().map_err(failed)?;
        let made_qdisc = match connection.request(add_qdisc(ifindex), NLM_F_CREATE | NLM_F_EXCL) {
            Ok(()) => true,
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                connection.is_qdisc_ours(ifindex).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        let filter = Self {
            owner,
            ifindex,
            direction,
            made_qdisc,
        };
        let add = || RouteNetlinkMessage::NewTrafficFilter(filter.message(Some(program)));
        match connection.request(add(), NLM_F_CREATE | NLM_F_EXCL) {
            Ok(()) => return Ok(filter),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            Err(error) => return Err(failed(error)),
        }
        let filters = connection.filters(ifindex, direction).map_err(failed)?;
        if !filters.iter().any(|found| is_of(owner, found)) {
            std::mem::forget(filter);
            return Err(AttachError::Occupied {
                hook,
                ifindex,
                priority: PRIORITY,
                handle: owner.handle(),
            });
        }
        connection
            .request(add(), NLM_F_CREATE | NLM_F_REPLACE)
            .map_err(failed)?;
        Ok(filter)
    }

    /// Removes what a killed run may have left where this one stands on another hook: it would act on whatever passes that.
    pub(super) fn remove_leftover(owner: Owner, ifindex: Ifindex, direction: Direction) {
        let leftover = Connection::open().and_then(|connection| {
            let filters = connection.filters(ifindex, direction)?;
            let is_there = filters.iter().any(|found| is_of(owner, found));
            let made_qdisc = is_there && connection.is_qdisc_ours(ifindex)?;
            Ok(is_there.then_some(made_qdisc))
        });
        match leftover {
            Ok(Some(made_qdisc)) => drop(Self {
                owner,
                ifindex,
                direction,
                made_qdisc,
            }),
            Ok(None) => {}
            Err(error) => tracing::debug!(ifindex = ifindex.0, %error, "no look at clsact"),
        }
    }

    /// Whether it still stands where it was put: whoever deletes the qdisc deletes it, too.
    pub(super) fn is_there(&self) -> io::Result<bool> {
        let filters = Connection::open()?.filters(self.ifindex, self.direction)?;
        Ok(filters.iter().any(|found| is_of(self.owner, found)))
    }

    fn message(&self, program: Option<BorrowedFd<'_>>) -> TcMessage {
        let mut message = TcMessage::with_index(self.ifindex.0 as i32);
        message.header.handle = self.owner.handle().into();
        message.header.parent = parent(self.direction);
        message.header.info = u32::from(PRIORITY) << 16 | u32::from(ETH_P_ALL.to_be());
        message.attributes.push(TcAttribute::Kind("bpf".to_owned()));
        if let Some(program) = program {
            let name = self.owner.name(self.made_qdisc);
            message.attributes.push(TcAttribute::Options(vec![
                TcOption::Bpf(TcFilterBpfOption::ProgFd(program.as_raw_fd() as u32)),
                TcOption::Bpf(TcFilterBpfOption::ProgName(name.to_owned())),
                TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
            ]));
        }
        message
    }

    /// Removes what [`Self::attach`] made. Whatever is gone already (with its device, or by somebody's hand) needs no removal: a qdisc
    /// without our filter may be another one.
    fn remove(&self) -> io::Result<()> {
        let connection = Connection::open()?;
        let filters = connection.filters(self.ifindex, self.direction)?;
        if !filters.iter().any(|found| is_of(self.owner, found)) {
            return Ok(());
        }
        connection.request(RouteNetlinkMessage::DelTrafficFilter(self.message(None)), 0)?;
        if self.made_qdisc
            && connection
                .filters(self.ifindex, Direction::Ingress)?
                .is_empty()
            && connection
                .filters(self.ifindex, Direction::Egress)?
                .is_empty()
        {
            connection.request(
                RouteNetlinkMessage::DelQueueDiscipline(qdisc(self.ifindex)),
                0,
            )?;
        }
        Ok(())
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::debug!(ifindex = self.ifindex.0, %error, "clsact filter not removed");
        }
    }
}

fn add_qdisc(ifindex: Ifindex) -> RouteNetlinkMessage {
    RouteNetlinkMessage::NewQueueDiscipline(qdisc(ifindex))
}

fn qdisc(ifindex: Ifindex) -> TcMessage {
    let mut message = TcMessage::with_index(ifindex.0 as i32);
    message.header.handle = TcHandle {
        major: TcHandle::CLSACT.major,
        minor: 0,
    };
    message.header.parent = TcHandle::CLSACT;
    message
        .attributes
        .push(TcAttribute::Kind("clsact".to_owned()));
    message
}

fn parent(direction: Direction) -> TcHandle {
    let minor = match direction {
        Direction::Ingress => TcHandle::MIN_INGRESS,
        Direction::Egress => TcHandle::MIN_EGRESS,
    };
    TcHandle {
        major: TcHandle::CLSACT.major,
        minor,
    }
}

/// Whether a filter stands at an owner's place under one of its names.
fn is_of(owner: Owner, filter: &TcMessage) -> bool {
    [false, true]
        .iter()
        .any(|made_qdisc| is_called(owner, *made_qdisc, filter))
}

fn is_called(owner: Owner, made_qdisc: bool, filter: &TcMessage) -> bool {
    let name = TcFilterBpfOption::ProgName(owner.name(made_qdisc).to_owned());
    u32::from(filter.header.handle) == owner.handle()
        && filter.header.info >> 16 == u32::from(PRIORITY)
        && filter.attributes.iter().any(|attribute| {
            matches!(attribute, TcAttribute::Options(options)
                if options.contains(&TcOption::Bpf(name.clone())))
        })
}

/// A netlink socket for a few questions and answers in a row.
struct Connection(Socket);

impl Connection {
    fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Sends a request and waits for its acknowledgement.
    fn request(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.ask(message, NLM_F_REQUEST | NLM_F_ACK | flags, |_| {})
    }

    /// Whether a filter of ours says so.
    fn is_qdisc_ours(&self, ifindex: Ifindex) -> io::Result<bool> {
        for direction in [Direction::Ingress, Direction::Egress] {
            let filters = self.filters(ifindex, direction)?;
            let says_so = |filter| OWNERS.iter().any(|owner| is_called(*owner, true, filter));
            if filters.iter().any(says_so) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The filters at one hook; none where there is no clsact.
    fn filters(&self, ifindex: Ifindex, direction: Direction) -> io::Result<Vec<TcMessage>> {
        let mut message = TcMessage::with_index(ifindex.0 as i32);
        message.header.parent = parent(direction);
        let mut filters = Vec::new();
        self.ask(
            RouteNetlinkMessage::GetTrafficFilter(message),
            NLM_F_REQUEST | NLM_F_DUMP,
            |filter| {
                // Each priority is preceded by a message of its own, with handle 0.
                if u32::from(filter.header.handle) != 0 {
                    filters.push(filter);
                }
            },
        )?;
        Ok(filters)
    }

    fn ask(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut take: impl FnMut(TcMessage),
    ) -> io::Result<()> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.0.send(&bytes, 0)?;
        for _ in 0..ANSWERS_MAX {
            let mut answer = Vec::with_capacity(ANSWER_BYTES_MAX);
            self.0.recv(&mut answer, 0)?;
            let mut rest = answer.as_slice();
            while !rest.is_empty() {
                let message =
                    NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(|error| {
                        io::Error::new(io::ErrorKind::InvalidData, error.to_string())
                    })?;
                rest = rest
                    .get((message.header.length as usize).next_multiple_of(4)..)
                    .unwrap_or_default();
                match message.payload {
                    NetlinkPayload::Error(error) => {
                        return if error.code.is_none() {
                            Ok(())
                        } else {
                            Err(error.to_io())
                        };
                    }
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewTrafficFilter(filter)) => {
                        take(filter)
                    }
                    _ => {}
                }
            }
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "netlink does not come to an end",
        ))
    }
}
