//! A router between two namespaces, and floods of foreign packets through it.

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use pingu::{
    probe::{
        ProbeTransport,
        kernel::{KernelTransport, LoadOptions},
    },
    units::Ifindex,
};

use super::{Options, Setup};
use crate::bench::{
    bare_loop::{message, packet_socket},
    bpf::{self, Hook, Kind},
    cpu,
    namespace::Namespace,
};

/// source - router - sink.
pub(super) struct Lab {
    pub(super) source: Namespace,
    router: Namespace,
    _sink: Namespace,
    interfaces: [Ifindex; 2],
    /// A packet of somebody else's, as the source sends it.
    pub(super) frame: Vec<u8>,
    outlet: Ifindex,
}

impl Lab {
    pub(super) fn new() -> Result<Self> {
        let (source, router, sink) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        source.veth("source0", &router, "in0")?;
        router.veth("out0", &sink, "sink0")?;
        router.ip("address add 10.80.1.1/24 dev in0")?;
        router.ip("address add 10.80.2.1/24 dev out0")?;
        // Not the sink's own address: it drops what it gets before that costs anything.
        router.ip("neighbour add 10.80.2.2 lladdr 02:00:00:00:00:99 dev out0")?;
        router.sysctl("net.ipv4.ip_forward", "1")?;
        let interfaces = [
            Ifindex(router.ifindex("in0")?),
            Ifindex(router.ifindex("out0")?),
        ];
        let frame = udp_frame(source.mac("source0")?, router.mac("in0")?);
        let outlet = Ifindex(source.ifindex("source0")?);
        Ok(Self {
            source,
            router,
            _sink: sink,
            interfaces,
            frame,
            outlet,
        })
    }

    /// Nanoseconds for a packet through the router.
    pub(super) fn forward(&self, setup: Setup, options: &Options) -> Result<f64> {
        match setup {
            Setup::Nothing => self.flood(options.packets),
            Setup::Empty => self.with(options.packets, empty_pair),
            Setup::Silent | Setup::Programs => {
                let load = LoadOptions::new(64, options.receive);
                let load = match setup {
                    Setup::Programs => load.counting(self.interfaces.len() as u32),
                    Setup::Nothing | Setup::Empty | Setup::Silent => load,
                };
                let outlet = self.interfaces[1];
                self.with_checked(
                    options.packets,
                    move |interfaces| programs(interfaces, load),
                    move |transport| {
                        let counted = transport.traffic(outlet).map(|seen| seen.egress_packets);
                        let is_wanted = load.counted_interfaces > 0;
                        ensure!(
                            counted.is_some_and(|packets| packets > 0) == is_wanted,
                            "{counted:?} packets were counted"
                        );
                        Ok(())
                    },
                )
            }
        }
    }

    /// Likewise, while what `attach` returns exists.
    fn with<T: Send + 'static>(
        &self,
        packets: u32,
        attach: impl FnOnce([Ifindex; 2]) -> Result<T> + Send + 'static,
    ) -> Result<f64> {
        self.with_checked(packets, attach, |_| Ok(()))
    }

    /// Likewise, and looks at it afterwards.
    fn with_checked<T: Send + 'static>(
        &self,
        packets: u32,
        attach: impl FnOnce([Ifindex; 2]) -> Result<T> + Send + 'static,
        check: impl FnOnce(&T) -> Result<()> + Send + 'static,
    ) -> Result<f64> {
        let interfaces = self.interfaces;
        let attached = self.router.run(move || attach(interfaces))?;
        let time = self.flood(packets);
        self.router.run(move || check(&attached))?;
        time
    }

    /// Sends the packets through the router; processor time for each.
    fn flood(&self, packets: u32) -> Result<f64> {
        let before = self.forwarded()?;
        let (frame, outlet) = (self.frame.clone(), self.outlet);
        let time = self.source.run(move || flood(&frame, outlet, packets))?;
        let forwarded = self.forwarded()? - before;
        ensure!(
            forwarded >= u64::from(packets),
            "only {forwarded} of {packets} packets were forwarded"
        );
        Ok(time.as_nanos() as f64 / f64::from(packets))
    }

    fn forwarded(&self) -> Result<u64> {
        let text = self.router.ip("-s -j link show dev out0")?;
        let links: serde_json::Value = serde_json::from_str(&text)?;
        links[0]["stats64"]["tx"]["packets"]
            .as_u64()
            .context("no tx count of out0")
    }
}

fn empty_pair([inside, outside]: [Ifindex; 2]) -> Result<[OwnedFd; 2]> {
    let empty = bpf::load_returning(Kind::Classifier, -1)?;
    Ok([
        bpf::attach(empty.as_fd(), inside.0, Hook::TcxIngress)?,
        bpf::attach(empty.as_fd(), outside.0, Hook::TcxEgress)?,
    ])
}

/// The uplink alone has pingu's programs: a packet that comes in by the other interface passes the egress hook, and its answer the
/// ingress hook. To
/// see both with one packet, both interfaces have them.
fn programs(interfaces: [Ifindex; 2], load: LoadOptions) -> Result<KernelTransport> {
    let mut transport = KernelTransport::load(load)?;
    for ifindex in interfaces {
        transport.attach(ifindex, false)?;
    }
    Ok(transport)
}

const BATCH: usize = 64;

fn flood(frame: &[u8], outlet: Ifindex, packets: u32) -> Result<Duration> {
    let socket = packet_socket(outlet, 0)?;
    let mut vector = libc::iovec {
        iov_base: frame.as_ptr().cast_mut().cast(),
        iov_len: frame.len(),
    };
    let mut messages: [_; BATCH] = std::array::from_fn(|_| message(&mut vector));
    let softirq_before = cpu::softirq_threads_time()?;
    let before = cpu::thread_time();
    let mut left = packets as usize;
    while left > 0 {
        let count = left.min(BATCH);
        // SAFETY: the messages point to one vector, and it to the frame; the kernel only reads it.
        let sent =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count as u32, 0) };
        ensure!(sent > 0, "sendmmsg: {}", io::Error::last_os_error());
        left -= sent as usize;
    }
    Ok(cpu::thread_time() - before + (cpu::softirq_threads_time()? - softirq_before))
}

/// 64 bytes of UDP to an address behind the router.
fn udp_frame(source: [u8; 6], router: [u8; 6]) -> Vec<u8> {
    let mut ip = vec![0x45, 0, 0, 50, 0, 1, 0x40, 0, 64, 17, 0, 0];
    ip.extend(Ipv4Addr::new(10, 80, 1, 2).octets());
    ip.extend(Ipv4Addr::new(10, 80, 2, 2).octets());
    let sum: u32 = ip
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    let checksum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    // Ports 4000 and 9, 30 bytes, no checksum.
    ip.extend([0x0f, 0xa0, 0, 9, 0, 30, 0, 0]);
    ip.resize(50, 0);
    [router.as_slice(), &source, &[0x08, 0x00], &ip].concat()
}
