//! A map of the programs in this process's own memory.

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
    /// Keeps the map's file descriptor open, which loading a program later needs.
    _map: MapData,
}

// SAFETY: the memory is the process's own mapping, valid in every thread; what is shared with the kernel is read and written
// as atomics or volatile by the modules that use this.
unsafe impl<T> Send for Mapped<T> {}

impl<T> Mapped<T> {
    /// Maps the array of `count` entries, which are `T` as the programs have it.
    pub(super) fn new(map: MapData, count: u32) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address of the kernel's choice; the kernel rounds the length up to whole pages.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                count as usize * size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.fd().as_fd().as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first = NonNull::new(address.cast()).expect("a mapping never begins at address 0");
        Ok(Self {
            first,
            count,
            _map: map,
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
