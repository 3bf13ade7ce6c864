//! A prober of one target, as cheap as one with dpinger's shape can be: a process for each target, a thread that sleeps and sends, a
//! thread that waits for replies, times from user space. It is a floor below such probers and not one of them: it averages nothing,
//! reports nothing while it runs, has one socket and two threads, and lets the kernel sort replies.

use std::{
    io::{self, Write},
    mem,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    process, ptr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

/// What to probe.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The address that is asked for echoes
    pub target: Ipv4Addr,
    /// From one probe to the next, in microseconds
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub interval_us: u64,
    /// Ends after so many probes and prints what each took; without it, it probes until it is ended
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub count: Option<u32>,
    /// Rests so long before the first probe, in milliseconds
    #[arg(long, default_value_t = 0)]
    pub rest_ms: u64,
}

/// Probes whose times are kept where none is printed: more than are ever on their way.
const KEPT: u32 = 1_024;
/// For the reply to the last probe.
const LAST_REPLY_WITHIN: Duration = Duration::from_millis(500);
/// What ping has, too.
const PAYLOAD_BYTES: usize = 56;
const ICMP_HEADER_BYTES: usize = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
/// linux/icmp.h: the option of a raw socket by which the kernel hands over some types only.
const ICMP_FILTER: libc::c_int = 1;

/// Probes one target.
pub fn run(options: &Options) -> Result<()> {
    let socket = Arc::new(Socket::new(options)?);
    let times = Arc::new(Times::new(options.count.unwrap_or(KEPT)));
    let ident = process::id() as u16;
    let (receiving, received) = (Arc::clone(&socket), Arc::clone(&times));
    thread::spawn(move || receive(&receiving, &received, ident));
    send(options, &socket, &times, ident)?;
    thread::sleep(LAST_REPLY_WITHIN);
    times.print(io::stdout().lock())?;
    Ok(())
}

fn send(options: &Options, socket: &Socket, times: &Times, ident: u16) -> Result<()> {
    let interval = Duration::from_micros(options.interval_us);
    let mut due = Instant::now() + Duration::from_millis(options.rest_ms);
    let mut sequence = 0_u16;
    let mut left = options.count;
    while left != Some(0) {
        let now = Instant::now();
        if let Some(rest) = due.checked_duration_since(now) {
            thread::sleep(rest);
        }
        let request = request(ident, sequence);
        times.sent(sequence);
        socket.send(&request)?;
        sequence = sequence.wrapping_add(1);
        left = left.map(|left| left - 1);
        due += interval;
    }
    Ok(())
}

/// Until the process ends.
fn receive(socket: &Socket, times: &Times, ident: u16) {
    let mut packet = [0; 2_048];
    while let Ok(length) = socket.receive(&mut packet) {
        let ns = times.now_ns();
        if let Some(sequence) = own_reply(&packet[..length], ident) {
            times.answered(sequence, ns);
        }
    }
}

/// The sequence number of an answer to a probe of this process: IPv4's header comes first.
fn own_reply(packet: &[u8], ident: u16) -> Option<u16> {
    let header_bytes = usize::from(packet.first()? & 0x0f) * 4;
    let icmp = packet.get(header_bytes..header_bytes + ICMP_HEADER_BYTES)?;
    let word = |at: usize| u16::from_be_bytes([icmp[at], icmp[at + 1]]);
    (icmp[0] == ECHO_REPLY && word(4) == ident).then(|| word(6))
}

fn request(ident: u16, sequence: u16) -> [u8; ICMP_HEADER_BYTES + PAYLOAD_BYTES] {
    let mut request = [0; ICMP_HEADER_BYTES + PAYLOAD_BYTES];
    request[0] = ECHO_REQUEST;
    request[4..6].copy_from_slice(&ident.to_be_bytes());
    request[6..8].copy_from_slice(&sequence.to_be_bytes());
    // RFC 1071: all else is zero, so the sum is of three words and at most one carry.
    let sum = [u16::from(ECHO_REQUEST) << 8, ident, sequence]
        .into_iter()
        .map(u32::from)
        .sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    request[2..4].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    request
}

/// When probes left and what they took, by sequence number, for both threads without a lock.
struct Times {
    began: Instant,
    sent_ns: Vec<AtomicU64>,
    /// Zero where there is no answer.
    took_ns: Vec<AtomicU64>,
}

impl Times {
    fn new(probes: u32) -> Self {
        let zeroes = || (0..probes).map(|_| AtomicU64::new(0)).collect();
        Self {
            began: Instant::now(),
            sent_ns: zeroes(),
            took_ns: zeroes(),
        }
    }

    fn now_ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn sent(&self, sequence: u16) {
        let place = usize::from(sequence) % self.sent_ns.len();
        self.took_ns[place].store(0, Relaxed);
        self.sent_ns[place].store(self.now_ns(), Relaxed);
    }

    fn answered(&self, sequence: u16, ns: u64) {
        let place = usize::from(sequence) % self.sent_ns.len();
        let took_ns = ns.saturating_sub(self.sent_ns[place].load(Relaxed));
        self.took_ns[place].store(took_ns, Relaxed);
    }

    /// As ping writes them, with more digits.
    fn print(&self, mut to: impl Write) -> io::Result<()> {
        for (sequence, took_ns) in self.took_ns.iter().enumerate() {
            let ms = took_ns.load(Relaxed) as f64 / 1e6;
            if ms > 0.0 {
                writeln!(to, "icmp_seq={sequence} time={ms:.6} ms")?;
            }
        }
        to.flush()
    }
}

/// A raw ICMP socket.
struct Socket {
    fd: OwnedFd,
    target: libc::sockaddr_in,
}

impl Socket {
    fn new(options: &Options) -> Result<Self> {
        // SAFETY: plain system call; the descriptor is this process's and nobody else's.
        let fd = unsafe {
            let flags = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
            let fd = libc::socket(libc::AF_INET, flags, libc::IPPROTO_ICMP);
            ensure!(fd >= 0, "no raw socket: {}", io::Error::last_os_error());
            OwnedFd::from_raw_fd(fd)
        };
        let socket = Self {
            fd,
            target: address(SocketAddrV4::new(options.target, 0)),
        };
        socket.sort().context("the kernel does not sort replies")?;
        Ok(socket)
    }

    /// Has the kernel hand over nothing but the target's echo replies. It looks at the peer's address before it copies a packet, so that
    /// a thousand such sockets cost less than with any program attached to them.
    fn sort(&self) -> io::Result<()> {
        let all_but_replies = !(1_u32 << ECHO_REPLY);
        // SAFETY: both structures live through the calls, which are told their sizes.
        unsafe {
            let size = size_of::<libc::sockaddr_in>() as u32;
            let target = ptr::from_ref(&self.target).cast();
            done(libc::connect(self.fd.as_raw_fd(), target, size) as isize)?;
            done(libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_RAW,
                ICMP_FILTER,
                ptr::from_ref(&all_but_replies).cast(),
                size_of::<u32>() as u32,
            ) as isize)?;
        }
        Ok(())
    }

    fn send(&self, packet: &[u8]) -> io::Result<usize> {
        // SAFETY: packet and address live through the call, which is told their sizes.
        done(unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                packet.as_ptr().cast(),
                packet.len(),
                0,
                ptr::from_ref(&self.target).cast(),
                size_of::<libc::sockaddr_in>() as u32,
            )
        })
    }

    fn receive(&self, packet: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the buffer lives through the call, which is told its size.
        done(unsafe {
            libc::recv(
                self.fd.as_raw_fd(),
                packet.as_mut_ptr().cast(),
                packet.len(),
                0,
            )
        })
    }
}

fn address(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*address.ip()).to_be(),
        },
        // SAFETY: eight bytes without a meaning, which shall be zero.
        sin_zero: unsafe { mem::zeroed() },
    }
}

fn done(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_sums_to_zero_whatever_its_numbers() {
        for (ident, sequence) in [(0, 0), (0xffff, 0xffff), (0x1234, 9), (0xf800, 0)] {
            let request = request(ident, sequence);
            let words = request
                .chunks(2)
                .map(|two| u32::from(u16::from_be_bytes([two[0], two[1]])));
            assert_eq!(words.sum::<u32>() % 0xffff, 0, "{ident} {sequence}");
        }
    }

    #[test]
    fn only_replies_to_this_process_are_own() {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet.extend(request(7, 300));
        assert_eq!(own_reply(&packet, 7), None, "a request");
        packet[20] = ECHO_REPLY;
        assert_eq!(own_reply(&packet, 7), Some(300));
        assert_eq!(own_reply(&packet, 8), None);
        assert_eq!(own_reply(&packet[..27], 7), None);
        assert_eq!(own_reply(&[], 7), None);
    }

    #[test]
    fn what_was_answered_is_printed_as_ping_does_and_nothing_else() {
        let times = Times::new(3);
        times.sent(1);
        times.sent(2);
        times.answered(2, times.sent_ns[2].load(Relaxed) + 2_120_345);
        let mut printed = Vec::new();
        times.print(&mut printed).unwrap();
        assert_eq!(printed, b"icmp_seq=2 time=2.120345 ms\n");
    }
}
