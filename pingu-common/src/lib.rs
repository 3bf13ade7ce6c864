//! The contract between the eBPF programs and user space.
#![no_std]
