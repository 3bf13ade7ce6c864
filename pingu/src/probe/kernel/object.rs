//! The eBPF object that this binary was built with, if it was.

/// The object's bytes.
pub(super) fn bytes() -> Option<&'static [u8]> {
    let bytes: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pingu-ebpf"));
    (!bytes.is_empty()).then_some(bytes)
}
