//! Tun and tap devices, whose far end is the test: it sees each request that leaves, and makes what comes back.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::fd::AsRawFd,
};

use pingu::{
    config::ReceiveHook,
    probe::{
        EngineKind, LinkHeader, ProbeOrder, ProbeTransport, Remarks, SendResult, Stamps, Traffic,
        kernel::{KernelCounters, KernelTransport, LoadOptions},
    },
    units::{Ifindex, SlotId},
};
use pingu_tests::bench::namespace::Namespace;

use crate::{
    live::DEADLINE,
    packets::{HERE_V4, HERE_V6, THERE_V4, THERE_V6},
    reference,
};

const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const IFF_TUN: u16 = 0x0001;
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
const VNET_HEADER_BYTES: usize = 10;

/// A device and its far end.
pub struct Device {
    pub namespace: Namespace,
    pub ifindex: Ifindex,
    far_end: File,
    is_tap: bool,
}

impl Device {
    pub fn new(is_tap: bool) -> Self {
        let namespace = Namespace::new().unwrap();
        let far_end = namespace.run(move || {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/net/tun")
                .unwrap();
            let flags = if is_tap {
                IFF_TAP | IFF_VNET_HDR
            } else {
                IFF_TUN
            } | IFF_NO_PI;
            let mut request = [0_u8; 40];
            request[..4].copy_from_slice(b"tun0");
            request[16..18].copy_from_slice(&flags.to_ne_bytes());
            // SAFETY: the request is a `struct ifreq` and lives through the call.
            let result = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) };
            assert_eq!(result, 0, "{}", io::Error::last_os_error());
            file
        });
        namespace.ip("link set tun0 mtu 9000 up").unwrap();
        let ifindex = Ifindex(namespace.ifindex("tun0").unwrap());
        Self {
            namespace,
            ifindex,
            far_end,
            is_tap,
        }
    }

    pub fn link(&self) -> LinkHeader {
        if self.is_tap {
            LinkHeader::Ethernet {
                source: self.namespace.mac("tun0").unwrap(),
                destination: [2, 0, 0, 0, 0, 9],
            }
        } else {
            LinkHeader::Bare
        }
    }

    pub fn vlan(&self, outer: u16, inner: u16) -> LinkHeader {
        let source = self.namespace.mac("tun0").unwrap();
        LinkHeader::Vlan {
            source,
            destination: [2, 0, 0, 0, 0, 9],
            outer,
            inner,
        }
    }

    /// One order of each family.
    pub fn orders(&self, link: LinkHeader, payload_bytes: u16) -> [ProbeOrder; 2] {
        [(0, HERE_V4, THERE_V4), (1, HERE_V6, THERE_V6)].map(|(slot, source, target)| ProbeOrder {
            slot: SlotId(slot),
            ifindex: self.ifindex,
            link,
            source,
            target,
            ident: 0x4321,
            sequence: 7,
            payload_bytes,
            reflect: None,
        })
    }

    /// Sends the orders, lets `answer` make frames of each request's reply, and returns what became of them once all frames that
    /// it made have been counted.
    pub fn exchange(
        &mut self,
        orders: [ProbeOrder; 2],
        mut answer: impl FnMut(Vec<u8>) -> Vec<Frame>,
    ) -> (Vec<Stamps>, KernelCounters) {
        let is_tap = self.is_tap;
        let seen = self.exchange_requests(orders, |request| answer(reply_to(request, is_tap)));
        (seen.stamps, seen.counters)
    }

    /// Likewise, of the request itself.
    pub fn exchange_requests(
        &mut self,
        orders: [ProbeOrder; 2],
        mut answer: impl FnMut(Vec<u8>) -> Vec<Frame>,
    ) -> Seen {
        let (ifindex, bare) = (self.ifindex, !self.is_tap);
        let transport = self.namespace.run(move || {
            let options = LoadOptions::new(4, ReceiveHook::Auto).counting(1);
            let mut transport = KernelTransport::load(options).unwrap();
            assert_eq!(transport.attach(ifindex, bare).unwrap(), EngineKind::Tcx);
            let mut results = Vec::new();
            transport.send(&orders, &mut results);
            assert_eq!(results, [SendResult::Sent; 2]);
            transport
        });
        for _ in orders {
            for frame in answer(self.next_request()) {
                self.write(&frame);
            }
        }
        self.namespace.run(move || {
            // A write to the device returns when its frame has passed the hooks, so nothing is awaited but what should come.
            let slots = orders.iter().map(|order| order.slot);
            Seen {
                stamps: slots.clone().map(|slot| transport.read(slot)).collect(),
                remarks: slots.map(|slot| transport.remarks(slot)).collect(),
                counters: transport.counters().unwrap(),
                traffic: transport.traffic(ifindex).unwrap(),
            }
        })
    }

    /// The next echo request that leaves by the device; the kernel sends things of its own there.
    fn next_request(&mut self) -> Vec<u8> {
        self.next_echo([8, 128])
    }

    /// The next ICMP message of one of these types that leaves by the device, in its frame.
    pub fn next_echo(&mut self, kinds: [u8; 2]) -> Vec<u8> {
        loop {
            let mut poll = libc::pollfd {
                fd: self.far_end.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one descriptor, which lives through the call.
            let ready = unsafe { libc::poll(&mut poll, 1, DEADLINE.as_millis() as i32) };
            assert_eq!(ready, 1, "nothing came of {kinds:?}");
            let mut frame = vec![0; 16 * 1024];
            let length = self.far_end.read(&mut frame).unwrap();
            frame.truncate(length);
            if self.is_tap {
                frame.drain(..VNET_HEADER_BYTES);
            }
            if let Some(icmp) = icmp_offset(&frame, self.is_tap)
                && kinds.contains(&frame[icmp])
            {
                return frame;
            }
        }
    }

    pub fn write(&mut self, frame: &Frame) {
        let mut bytes = Vec::new();
        if self.is_tap {
            bytes.resize(VNET_HEADER_BYTES, 0);
            bytes[2..4].copy_from_slice(&frame.first_piece_bytes.to_ne_bytes());
        }
        bytes.extend(&frame.bytes);
        assert_eq!(self.far_end.write(&bytes).unwrap(), bytes.len());
    }
}

/// What became of two probes.
pub struct Seen {
    pub stamps: Vec<Stamps>,
    pub remarks: Vec<Remarks>,
    pub counters: KernelCounters,
    pub traffic: Traffic,
}

pub struct Frame {
    pub bytes: Vec<u8>,
    /// How much of it lies in the first piece; 0 is all.
    pub first_piece_bytes: u16,
}

pub fn whole(bytes: Vec<u8>) -> Vec<Frame> {
    vec![Frame {
        bytes,
        first_piece_bytes: 0,
    }]
}

/// Where an ICMP header of either family begins, if the frame has one.
pub fn icmp_offset(frame: &[u8], is_tap: bool) -> Option<usize> {
    let mut offset = 0;
    if is_tap {
        offset = 14;
        while [[0x81, 0x00], [0x88, 0xa8]]
            .contains(&[*frame.get(offset - 2)?, *frame.get(offset - 1)?])
        {
            offset += 4;
        }
    }
    match frame.get(offset)? >> 4 {
        4 if *frame.get(offset + 9)? == 1 => Some(offset + 20),
        6 if *frame.get(offset + 6)? == 58 => Some(offset + 40),
        _ => None,
    }
}

/// What a router answers that cannot pass a request on: time exceeded.
pub fn error_to(request: Vec<u8>, is_tap: bool) -> Vec<u8> {
    let icmp = icmp_offset(&request, is_tap).unwrap();
    let is_v4 = request[icmp] == 8;
    let ip = icmp - if is_v4 { 20 } else { 40 };
    let message_bytes = 8 + request.len() - ip;
    let mut frame = request[..icmp + 8].to_vec();
    frame[icmp..].copy_from_slice(&[8, 0, 0, 0, 0, 0, 0, 0]);
    if is_v4 {
        frame[ip + 2..ip + 4].copy_from_slice(&(20 + message_bytes as u16).to_be_bytes());
    } else {
        frame[icmp] = 128;
        frame[ip + 4..ip + 6].copy_from_slice(&(message_bytes as u16).to_be_bytes());
    }
    frame.extend(&request[ip..]);
    turned(frame, is_tap, if is_v4 { 11 } else { 3 })
}

/// What a host answers to an echo request.
pub fn reply_to(frame: Vec<u8>, is_tap: bool) -> Vec<u8> {
    let icmp = icmp_offset(&frame, is_tap).unwrap();
    let kind = if frame[icmp] == 8 { 0 } else { 129 };
    turned(frame, is_tap, kind)
}

/// A request's frame turned round, as a message of this type.
pub fn turned(mut frame: Vec<u8>, is_tap: bool, kind: u8) -> Vec<u8> {
    let icmp = icmp_offset(&frame, is_tap).unwrap();
    if is_tap {
        let (destination, source) = frame[..12].split_at_mut(6);
        destination.swap_with_slice(source);
    }
    let is_v4 = frame[icmp] == 8;
    let address_bytes = if is_v4 { 4 } else { 16 };
    let (source, destination) = frame[icmp - 2 * address_bytes..icmp].split_at_mut(address_bytes);
    source.swap_with_slice(destination);
    frame[icmp] = kind;
    frame[icmp + 2..icmp + 4].fill(0);
    let mut summed = Vec::new();
    if !is_v4 {
        summed.extend(&frame[icmp - 32..icmp]);
        summed.extend(((frame.len() - icmp) as u32).to_be_bytes());
        summed.extend([0, 0, 0, 58]);
    }
    summed.extend(&frame[icmp..]);
    let checksum = !reference::sum(&summed);
    frame[icmp + 2..icmp + 4].copy_from_slice(&checksum.to_be_bytes());
    frame
}
