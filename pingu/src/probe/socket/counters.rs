//! What the kernel counts on every interface anyway, read for all of them by one system call that waits for no lock (netlink's
//! `RTM_GETSTATS` waits for everybody's changes of links and routes).

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::FileExt,
    },
};

use super::inbox;
use crate::units::Ifindex;

/// Of the network namespace that the thread is in.
const PATH: &str = "/proc/thread-self/net/dev";

/// Room for some hundred interfaces; where there are more, another call reads on.
const ROOM_BYTES: usize = 32 * 1024;

/// More are not in any router: a line has some 130 bytes.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Columns behind the name.
const COLUMNS: usize = 16;

/// The counters of an interface, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    /// What came in, whoever it was for.
    pub(super) ingress: Amount,
    /// What of it was multicast, where the driver tells.
    pub(super) multicast: u64,
    /// What left.
    pub(super) egress: Amount,
}

/// Packets and their bytes, link headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl Amount {
    pub(super) fn add(&mut self, bytes: u64) {
        self.packets += 1;
        self.bytes += bytes;
    }
}

/// Reads them.
pub(super) struct Reader {
    file: File,
    names: OwnedFd,
    text: Vec<u8>,
    read: BTreeMap<String, Counters>,
    is_fresh: bool,
}

impl Reader {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            file: File::open(PATH)?,
            names: inbox::open(libc::AF_UNIX, libc::SOCK_DGRAM, 0)?,
            text: Vec::new(),
            read: BTreeMap::new(),
            is_fresh: false,
        })
    }

    /// What was read is old: the next question reads anew.
    pub(super) fn grow_old(&mut self) {
        self.is_fresh = false;
    }

    /// The counters of an interface; none if there is none of that number.
    pub(super) fn of(&mut self, ifindex: Ifindex) -> io::Result<Option<Counters>> {
        if !self.is_fresh {
            self.read()?;
            self.is_fresh = true;
        }
        let name = self.name(ifindex)?;
        Ok(name.and_then(|name| self.read.get(&name).copied()))
    }

    fn read(&mut self) -> io::Result<()> {
        let mut length = 0;
        loop {
            if self.text.len() < length + ROOM_BYTES {
                self.text.resize(length + ROOM_BYTES, 0);
            }
            match self.file.read_at(&mut self.text[length..], length as u64)? {
                0 => break,
                bytes => length += bytes,
            }
            if length > BYTES_MAX {
                return Err(io::Error::other(PATH));
            }
        }
        self.read.clear();
        let text = String::from_utf8_lossy(&self.text[..length]);
        self.read.extend(text.lines().filter_map(parse));
        Ok(())
    }

    /// The name that it has at this moment.
    fn name(&self, ifindex: Ifindex) -> io::Result<Option<String>> {
        // SAFETY: all of it is integers or pointers, for which zero is a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_ifru.ifru_ifindex = ifindex.0 as i32;
        // SAFETY: the request lives through the call, which writes a name into it and no more.
        let result =
            unsafe { libc::ioctl(self.names.as_raw_fd(), libc::SIOCGIFNAME, &raw mut request) };
        if result != 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::ENODEV | libc::ENXIO) => Ok(None),
                _ => Err(error),
            };
        }
        let bytes = request.ifr_name.iter().map(|&byte| byte as u8);
        let name: Vec<u8> = bytes.take_while(|&byte| byte != 0).collect();
        Ok(Some(String::from_utf8_lossy(&name).into_owned()))
    }
}

/// A line of `/proc/net/dev`; none of its heads is one. A name has no colon in it (`dev_valid_name`).
fn parse(line: &str) -> Option<(String, Counters)> {
    let (name, numbers) = line.split_once(':')?;
    let numbers = numbers.split_whitespace().map(|word| word.parse().ok());
    let numbers: Vec<u64> = numbers.collect::<Option<_>>()?;
    let numbers: &[u64; COLUMNS] = numbers.first_chunk()?;
    let [bytes, packets, .., multicast] = numbers.first_chunk::<8>()?;
    let [sent_bytes, sent_packets] = numbers[8..].first_chunk()?;
    let counters = Counters {
        ingress: Amount {
            packets: *packets,
            bytes: *bytes,
        },
        multicast: *multicast,
        egress: Amount {
            packets: *sent_packets,
            bytes: *sent_bytes,
        },
    };
    Some((name.trim().to_owned(), counters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_the_heads_are_not() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
                    face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n  \
                    eth0: 1000 10 1 2 3 4 5 6 2000 20 7 8 9 10 11 12\nwan.100:1 2 0 0 0 0 0 0 18446744073709551615 4 0 0 0 0 0 0\n";
        let read: Vec<_> = text.lines().filter_map(parse).collect();
        let amount = |packets, bytes| Amount { packets, bytes };
        let eth0 = Counters {
            ingress: amount(10, 1000),
            multicast: 6,
            egress: amount(20, 2000),
        };
        let wan = Counters {
            ingress: amount(2, 1),
            multicast: 0,
            egress: amount(4, u64::MAX),
        };
        assert_eq!(
            read,
            [("eth0".to_owned(), eth0), ("wan.100".to_owned(), wan)]
        );
    }

    #[test]
    fn the_kernel_answers_for_the_loopback_and_not_for_what_is_not_there() {
        let mut reader = Reader::new().unwrap();
        // SAFETY: the name is a string that ends with 0.
        let loopback = unsafe { libc::if_nametoindex(c"lo".as_ptr()) };
        assert!(reader.of(Ifindex(loopback)).unwrap().is_some());
        assert_eq!(reader.of(Ifindex(0x7fff_ffff)).unwrap(), None);
    }
}
