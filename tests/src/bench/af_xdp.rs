//! An AF_XDP socket in copy mode that sends the same frames again and again. What it sends passes no egress hook, no qdisc and no packet
//! tap, so whoever sends by it has to say himself when a probe left: measured to tell what that would gain, used by nothing else.

use std::{
    io,
    marker::PhantomData,
    mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail, ensure};
use pingu::units::Ifindex;

/// The least that the kernel takes as a frame's room.
const CHUNK_BYTES: usize = 2_048;
/// Any device has this queue.
const QUEUE: u32 = 0;
/// System calls for one burst: the kernel sends some 32 frames in each, and may be short of memory in one.
const KICKS_MAX: usize = 65_536;

/// The socket, its frames and its rings.
pub(super) struct FrameSocket {
    tx: Ring<libc::xdp_desc>,
    completion: Ring<u64>,
    lengths: Vec<u32>,
    sent: u64,
    completed: u64,
    socket: OwnedFd,
    // The kernel reads the frames as long as the socket is open.
    _frames: Mapping,
}

impl FrameSocket {
    /// A socket that only sends, by this interface and with this mark, always these frames.
    pub(super) fn new(outlet: Ifindex, mark: u32, frames: &[Vec<u8>]) -> Result<Self> {
        // SAFETY: a plain system call; the descriptor is new and nobody else's.
        let socket = unsafe {
            let socket = libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
            ensure!(socket >= 0, "AF_XDP: {}", io::Error::last_os_error());
            OwnedFd::from_raw_fd(socket)
        };
        let room = written(frames)?;
        // SAFETY: all fields are integers, for which zero is a value.
        let mut memory: libc::xdp_umem_reg = unsafe { mem::zeroed() };
        memory.addr = room.address.as_ptr() as u64;
        memory.len = room.bytes as u64;
        memory.chunk_size = CHUNK_BYTES as u32;
        let entries = (frames.len() as u32).next_power_of_two();
        set(&socket, libc::SOL_XDP, libc::XDP_UMEM_REG, &memory)?;
        for (ring, entries) in [
            // Nothing is received, but no socket is bound without the ring for that.
            (libc::XDP_UMEM_FILL_RING, 1),
            (libc::XDP_UMEM_COMPLETION_RING, entries),
            (libc::XDP_TX_RING, entries),
        ] {
            set(&socket, libc::SOL_XDP, ring, &entries)?;
        }
        set(&socket, libc::SOL_SOCKET, libc::SO_MARK, &mark)?;
        let offsets = offsets(&socket)?;
        let tx = Ring::map(&socket, libc::XDP_PGOFF_TX_RING, &offsets.tx, entries)?;
        let place = libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t;
        let completion = Ring::map(&socket, place, &offsets.cr, entries)?;
        bind(&socket, outlet).context("cannot bind an AF_XDP socket")?;
        Ok(Self {
            tx,
            completion,
            lengths: frames.iter().map(|frame| frame.len() as u32).collect(),
            sent: 0,
            completed: 0,
            socket,
            _frames: room,
        })
    }

    /// Sends each frame once; when it returns, the driver has had all of them.
    pub(super) fn send_all(&mut self) -> Result<()> {
        let begin = self.tx.producer().load(Ordering::Relaxed);
        for (place, &len) in self.lengths.iter().enumerate() {
            let frame = libc::xdp_desc {
                addr: (place * CHUNK_BYTES) as u64,
                len,
                options: 0,
            };
            self.tx.write(begin.wrapping_add(place as u32), frame);
        }
        let end = begin.wrapping_add(self.lengths.len() as u32);
        self.tx.producer().store(end, Ordering::Release);
        self.sent += self.lengths.len() as u64;
        for _ in 0..KICKS_MAX {
            self.kick()?;
            self.reap();
            if self.tx.consumer().load(Ordering::Acquire) == end && self.completed == self.sent {
                return Ok(());
            }
        }
        bail!("{} of {} frames were sent", self.completed, self.sent)
    }

    fn kick(&self) -> Result<()> {
        let (socket, flags) = (self.socket.as_raw_fd(), libc::MSG_DONTWAIT);
        // SAFETY: a plain system call without any memory.
        let result = unsafe { libc::sendto(socket, ptr::null(), 0, flags, ptr::null(), 0) };
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            _ if result >= 0 => Ok(()),
            // There is more to send than it sends at once, or the device was busy.
            Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS) => Ok(()),
            _ => Err(error).context("sendto"),
        }
    }

    /// Takes back what has left. The frames stay as they are, so that their number is enough.
    fn reap(&mut self) {
        let end = self.completion.producer().load(Ordering::Acquire);
        let begin = self.completion.consumer().swap(end, Ordering::Release);
        self.completed += u64::from(end.wrapping_sub(begin));
    }
}

/// Memory that holds the frames, each in a room of its own.
fn written(frames: &[Vec<u8>]) -> Result<Mapping> {
    let bytes = frames.len() * CHUNK_BYTES;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
    let room = Mapping::new(-1, 0, bytes, flags)?;
    for (place, frame) in frames.iter().enumerate() {
        ensure!(frame.len() <= CHUNK_BYTES, "a frame of {}", frame.len());
        // SAFETY: the room is this long, and nobody else knows of it.
        unsafe {
            let to = room.address.as_ptr().add(place * CHUNK_BYTES);
            ptr::copy_nonoverlapping(frame.as_ptr(), to, frame.len());
        }
    }
    Ok(room)
}

/// A ring that the kernel shares; `T` is what its entries are.
struct Ring<T> {
    memory: Mapping,
    offsets: libc::xdp_ring_offset,
    entries: u32,
    _entries: PhantomData<T>,
}

impl<T> Ring<T> {
    fn map(
        socket: &OwnedFd,
        place: libc::off_t,
        offsets: &libc::xdp_ring_offset,
        entries: u32,
    ) -> Result<Self> {
        let bytes = offsets.desc as usize + entries as usize * size_of::<T>();
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        Ok(Self {
            memory: Mapping::new(socket.as_raw_fd(), place, bytes, flags)?,
            offsets: *offsets,
            entries,
            _entries: PhantomData,
        })
    }

    fn producer(&self) -> &AtomicU32 {
        self.index(self.offsets.producer)
    }

    fn consumer(&self) -> &AtomicU32 {
        self.index(self.offsets.consumer)
    }

    fn index(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: the kernel put an aligned index there, in the mapping, which outlives this borrow.
        unsafe { AtomicU32::from_ptr(self.memory.address.as_ptr().add(offset as usize).cast()) }
    }

    /// The entry counts once the producer's index has passed it.
    fn write(&self, index: u32, entry: T) {
        let place = (index & (self.entries - 1)) as usize;
        // SAFETY: the place lies in the mapping, where the kernel aligned the entries; it reads none before the index has passed it.
        unsafe {
            let entries = self.memory.address.as_ptr();
            let first = entries.add(self.offsets.desc as usize).cast::<T>();
            first.add(place).write(entry);
        }
    }
}

/// Memory, given back at the end.
struct Mapping {
    address: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn new(fd: i32, place: libc::off_t, bytes: usize, flags: i32) -> Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses an address that nothing uses.
        let address = unsafe { libc::mmap(ptr::null_mut(), bytes, access, flags, fd, place) };
        ensure!(address != libc::MAP_FAILED, io::Error::last_os_error());
        let address = NonNull::new(address.cast()).context("mmap gave nothing")?;
        Ok(Self { address, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped so, and whoever borrows from it is gone.
        unsafe { libc::munmap(self.address.as_ptr().cast(), self.bytes) };
    }
}

fn set<T>(socket: &OwnedFd, level: i32, option: i32, value: &T) -> Result<()> {
    let bytes = size_of::<T>() as libc::socklen_t;
    // SAFETY: a plain system call that reads the value.
    let result = unsafe {
        let value = ptr::from_ref(value).cast();
        libc::setsockopt(socket.as_raw_fd(), level, option, value, bytes)
    };
    ensure!(result == 0, io::Error::last_os_error());
    Ok(())
}

fn offsets(socket: &OwnedFd) -> Result<libc::xdp_mmap_offsets> {
    let (level, option) = (libc::SOL_XDP, libc::XDP_MMAP_OFFSETS);
    let mut bytes = size_of::<libc::xdp_mmap_offsets>() as libc::socklen_t;
    // SAFETY: all fields are integers, and the kernel writes no more than it is told there is room for.
    unsafe {
        let mut offsets: libc::xdp_mmap_offsets = mem::zeroed();
        let value = (&raw mut offsets).cast();
        let result = libc::getsockopt(socket.as_raw_fd(), level, option, value, &mut bytes);
        ensure!(result == 0, io::Error::last_os_error());
        Ok(offsets)
    }
}

fn bind(socket: &OwnedFd, outlet: Ifindex) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: libc::XDP_COPY,
        sxdp_ifindex: outlet.0,
        sxdp_queue_id: QUEUE,
        sxdp_shared_umem_fd: 0,
    };
    let bytes = size_of_val(&address) as libc::socklen_t;
    // SAFETY: a plain system call that reads the address.
    match unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), bytes) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
