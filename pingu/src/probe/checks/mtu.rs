//! Two sizes of packets that must not be cut up: where the small one is answered and the large one is not, the path swallows large
//! packets.

use std::{
    io::{self, ErrorKind},
    mem::MaybeUninit,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use socket2::{Protocol, SockAddr, Socket, Type};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    bound,
    echo::{Exchange, Heard, IPV4_BYTES},
    meter::{Line, Meter},
};
use crate::{
    config::MtuCheck,
    engine::check::{Cause, CheckOutcome, Failure},
};

/// Bytes of the small packet, with its IP header: what passes everywhere.
const SMALL_BYTES: u16 = 128;

/// A packet may be lost: each size is tried so often, while it is not answered.
const TRIES: u16 = 3;

/// The largest packet that a raw socket gives.
const PACKET_BYTES_MAX: usize = 65_536;

/// `IP_PMTUDISC_PROBE`: set the flag, and let nobody's word about the path cut the packet (ip(7)).
const PROBE: libc::c_int = libc::IP_PMTUDISC_PROBE;

/// Runs an `mtu` check.
pub(super) async fn run(way: &Line<'_>, check: &MtuCheck, timeout: Duration) -> CheckOutcome {
    let of_interface = u16::try_from(way.mtu_bytes).unwrap_or(u16::MAX);
    let size = check.size_bytes.unwrap_or(of_interface);
    if size > of_interface {
        let text = format!(
            "{size} bytes are more than {} takes: {of_interface}",
            way.interface
        );
        return Err(Failure::new(Cause::Mtu, text));
    }
    let mut prober = Prober::open(way, check.target)?;
    // A target that answers in time is heard in each of them; what is left is for the size that a router names.
    let share = timeout / (2 * u32::from(TRIES) + 1);
    let found = prober.try_sizes(size, share).await?;
    let (mtu_bytes, router) = match found {
        Found::Both => return Ok(format!("{size} bytes pass")),
        Found::None => {
            let text = format!("{} does not answer at all", check.target);
            return Err(Failure::new(Cause::Timeout, text));
        }
        Found::Small { told: None } => {
            let text = format!(
                "path-MTU black hole: {SMALL_BYTES} bytes are answered, {size} are not, and nobody says why"
            );
            return Err(Failure::new(Cause::Mtu, text));
        }
        Found::Small { told: Some(told) } => told,
    };
    let says = match mtu_bytes {
        Some(mtu_bytes) => format!("{router} says that the path's MTU is {mtu_bytes}"),
        None => format!("{router} says that they are too large"),
    };
    // Whoever sends too much is told so: that is a small path, and no hole.
    let smaller =
        mtu_bytes.filter(|mtu| check.size_bytes.is_none() && (SMALL_BYTES..size).contains(mtu));
    let Some(smaller) = smaller else {
        let text = format!("{size} bytes do not pass: {says}");
        return Err(Failure::new(Cause::Mtu, text));
    };
    match prober.try_sizes(smaller, share).await? {
        Found::Both => Ok(format!("{smaller} bytes pass: {says}")),
        Found::Small { .. } | Found::None => {
            let text = format!("path-MTU black hole: {says}, but {smaller} bytes do not pass");
            Err(Failure::new(Cause::Mtu, text))
        }
    }
}

/// Which sizes were answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Both,
    None,
    /// The small one alone; who said that the large one is too large, and what is not.
    Small {
        told: Option<(Option<u16>, IpAddr)>,
    },
}

struct Prober {
    socket: AsyncFd<Socket>,
    exchange: Exchange,
    next_sequence: u16,
    meter: Arc<Meter>,
}

impl Prober {
    fn open(way: &Line<'_>, target: IpAddr) -> Result<Self, Failure> {
        let ipv6 = target.is_ipv6();
        let protocol = if ipv6 {
            Protocol::ICMPV6
        } else {
            Protocol::ICMPV4
        };
        let socket = bound::socket(way, ipv6, Type::RAW, Some(protocol))?;
        let failed = |error: io::Error| Failure::local("no raw socket", error);
        if ipv6 {
            set(&socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, PROBE).map_err(failed)?;
            set(&socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1).map_err(failed)?;
        } else {
            set(&socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, PROBE).map_err(failed)?;
        }
        // SAFETY: the descriptor is the same one, and open, until the `AsyncFd` that owns it is dropped.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self {
            socket: socket.map_err(|error| failed(error.into()))?,
            exchange: Exchange {
                target,
                ident: rand::random(),
                cookie: rand::random(),
            },
            next_sequence: 0,
            meter: Arc::clone(way.meter),
        })
    }

    /// Sends a small packet and one of this size until both are answered, or often enough.
    async fn try_sizes(&mut self, size: u16, share: Duration) -> Result<Found, Failure> {
        let first = self.next_sequence;
        let mut answered = [false; 2];
        let mut told = None;
        for _ in 0..TRIES {
            let sizes = [SMALL_BYTES, size];
            for (place, bytes) in sizes.into_iter().enumerate() {
                if !answered[place] {
                    // The parity of the number tells which of the two it was.
                    self.send(self.next_sequence + place as u16, bytes)?;
                }
            }
            self.next_sequence += 2;
            let listen = self.listen(first, &mut answered, &mut told);
            if let Ok(outcome) = tokio::time::timeout(share, listen).await {
                outcome?;
                break;
            }
            if answered[0] && told.is_some() {
                break;
            }
        }
        Ok(match answered {
            [_, true] => Found::Both,
            [true, false] => Found::Small { told },
            [false, false] => Found::None,
        })
    }

    /// Listens until both sizes are answered.
    async fn listen(
        &self,
        first: u16,
        answered: &mut [bool; 2],
        told: &mut Option<(Option<u16>, IpAddr)>,
    ) -> Result<(), Failure> {
        while *answered != [true; 2] {
            let mut guard = self.socket.readable().await.map_err(lost)?;
            match self.receive() {
                Ok(Some((Heard::Reply { sequence }, _))) if sequence >= first => {
                    answered[usize::from(sequence % 2)] = true;
                }
                Ok(Some((
                    Heard::TooBig {
                        sequence,
                        mtu_bytes,
                    },
                    router,
                ))) if sequence >= first && sequence % 2 == 1 => {
                    *told = Some((mtu_bytes, router));
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) => return Err(lost(error)),
            }
        }
        Ok(())
    }

    fn receive(&self) -> io::Result<Option<(Heard, IpAddr)>> {
        let mut buffer = vec![MaybeUninit::uninit(); PACKET_BYTES_MAX];
        let (count, from) = self.socket.get_ref().recv_from(&mut buffer)?;
        // SAFETY: the kernel has written so many bytes.
        let bytes = unsafe { &*(&raw const buffer[..count] as *const [u8]) };
        let from = from.as_socket().map(|from| from.ip());
        let heard = from.and_then(|from| Some((self.exchange.read(from, bytes)?, from)));
        if heard.is_some() {
            // Those of IPv4 come with their header.
            let header_bytes = match self.exchange.target {
                IpAddr::V4(_) => IPV4_BYTES,
                IpAddr::V6(_) => 0,
            };
            let bytes = count.saturating_sub(header_bytes) as u64;
            self.meter.packet(self.exchange.target.is_ipv6(), bytes);
        }
        Ok(heard)
    }

    fn send(&self, sequence: u16, bytes: u16) -> Result<(), Failure> {
        let target = self.exchange.target;
        let to: SockAddr = SocketAddr::new(target, 0).into();
        let message = self.exchange.request(sequence, bytes);
        match self.socket.get_ref().send_to(&message, &to) {
            Ok(_) => {
                self.meter.packet(target.is_ipv6(), message.len() as u64);
                Ok(())
            }
            // A full queue is a lost packet.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => Ok(()),
            Err(error) => Err(bound::failure(format!("cannot send to {target}"), &error)),
        }
    }
}

fn lost(error: io::Error) -> Failure {
    Failure::local("no raw socket", error)
}

fn set(
    socket: &Socket,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: the pointer is to a live integer of the size that is named.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
