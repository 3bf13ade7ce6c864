//! A map of the programs in this process's own memory, or memory that stands in for one where there are no programs.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    ptr::NonNull,
};

use aya::maps::MapData;

/// An array map's entries, as memory. Programs read and write them on other processors at any time.
pub(super) struct Mapped<T> {
    first: NonNull<T>,
    count: u32,
    /// Keeps the map's file descriptor open, which loading a program later needs; none of memory without a map.
    _map: Option<MapData>,
}

// SAFETY: the memory is the process's own mapping, valid in every thread; what is shared with the kernel is read and written
// as atomics or volatile by the modules that use this.
unsafe impl<T> Send for Mapped<T> {}

impl<T> Mapped<T> {
    /// Maps the array of `count` entries, which are `T` as the programs have it.
    pub(super) fn new(map: MapData, count: u32) -> io::Result<Self> {
        let fd = map.fd().as_fd().as_raw_fd();
        let first = map_memory(fd, libc::MAP_SHARED, count as usize * size_of::<T>())?.cast();
        Ok(Self {
            first,
            count,
            _map: Some(map),
        })
    }

    /// Memory for `count` entries, all zeros, that no program sees. Pages that are never touched cost nothing.
    pub(super) fn anonymous(count: u32) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let first = map_memory(-1, flags, count as usize * size_of::<T>())?.cast();
        Ok(Self {
            first,
            count,
            _map: None,
        })
    }
    /// How many entries there are.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Where an entry is, if there is one of that number.
    pub(super) fn entry(&self, number: u32) -> Option<NonNull<T>> {
        // SAFETY: the place was compared with the count that the mapping was made for.
        (number < self.count).then(|| unsafe { self.first.add(number as usize) })
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: unmaps what `new` mapped; no reference into it outlives `self`.
        unsafe {
            libc::munmap(
                self.first.as_ptr().cast(),
                self.count as usize * size_of::<T>(),
            )
        };
    }
}

fn map_memory(fd: i32, flags: i32, bytes: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: a fresh mapping at an address of the kernel's choice; the kernel rounds the length up to whole pages.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            fd,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(NonNull::new(address.cast()).expect("a mapping never begins at address 0"))
}
