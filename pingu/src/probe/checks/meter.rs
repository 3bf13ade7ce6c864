//! What a check costs on the wire: its packets, and their bytes from the IP header on.
//!
//! Of a TCP connection the kernel's own counts are taken when it ends, however it does, so retransmissions are among them. Programs
//! speak for themselves: what they send nobody here can know.

use std::{
    io,
    net::IpAddr,
    ops::Deref,
    os::fd::AsRawFd,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use socket2::Socket;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UdpSocket},
};

use crate::engine::check::{CheckWay, Cost};

mod tcp;

/// An IP header without options, by family.
const IP_BYTES: [u64; 2] = [20, 40];

/// A UDP header.
const UDP_BYTES: u64 = 8;

/// Room for what the kernel tells of a connection, which grows from version to version.
const TCP_INFO_BYTES: usize = 512;

/// Adds up what one run costs.
#[derive(Debug, Default)]
pub struct Meter {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Meter {
    /// What it has cost so far.
    pub fn cost(&self) -> Cost {
        Cost {
            packets: self.packets.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
        }
    }

    fn add(&self, cost: Cost) {
        self.packets.fetch_add(cost.packets, Relaxed);
        self.bytes.fetch_add(cost.bytes, Relaxed);
    }

    /// An IP packet of a family with so many bytes behind the IP header.
    pub(super) fn packet(&self, ipv6: bool, bytes: u64) {
        let bytes = IP_BYTES[usize::from(ipv6)] + bytes;
        self.add(Cost { packets: 1, bytes });
    }
}

/// The way of a check, and what it costs.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) way: &'a CheckWay,
    pub(super) meter: &'a Arc<Meter>,
}

impl Deref for Line<'_> {
    type Target = CheckWay;

    fn deref(&self) -> &CheckWay {
        self.way
    }
}

/// A TCP connection that tells the meter in the end. It holds the socket open for that after everybody else has closed it.
pub(super) struct Account {
    socket: Socket,
    ipv6: bool,
    meter: Arc<Meter>,
}

impl Account {
    /// Opens one for a socket that is about to connect.
    pub(super) fn open(socket: &Socket, ipv6: bool, meter: &Arc<Meter>) -> io::Result<Self> {
        Ok(Self {
            socket: socket.try_clone()?,
            ipv6,
            meter: Arc::clone(meter),
        })
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut told = [0_u8; TCP_INFO_BYTES];
        let mut length = TCP_INFO_BYTES as libc::socklen_t;
        // SAFETY: the buffer outlives the call, and its length is right.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                told.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let info = tcp::Info::read(&told[..length as usize]);
        match info.filter(|_| result == 0) {
            Some(info) => self.meter.add(info.cost(IP_BYTES[usize::from(self.ipv6)])),
            None => tracing::debug!("the kernel does not tell what a connection cost"),
        }
    }
}

/// A TCP connection whose bytes are counted.
pub(super) struct Stream {
    // Before the account, which sees the socket last.
    stream: TcpStream,
    _account: Account,
}

impl Stream {
    pub(super) fn new(stream: TcpStream, account: Account) -> Self {
        Self {
            stream,
            _account: account,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A UDP socket whose bytes are counted.
pub(super) struct Datagrams {
    socket: UdpSocket,
    ipv6: bool,
    meter: Arc<Meter>,
}

impl Datagrams {
    pub(super) fn new(socket: UdpSocket, peer: IpAddr, meter: &Arc<Meter>) -> Self {
        Self {
            socket,
            ipv6: peer.is_ipv6(),
            meter: Arc::clone(meter),
        }
    }

    pub(super) async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send(bytes).await?;
        self.meter.packet(self.ipv6, UDP_BYTES + bytes.len() as u64);
        Ok(())
    }

    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.recv(buffer).await?;
        self.meter.packet(self.ipv6, UDP_BYTES + count as u64);
        Ok(count)
    }
}
