//! Why a script's probes cannot be sent at all, in words that say what to do about it.

use std::io;

/// Why there is no prober.
#[derive(Debug, thiserror::Error)]
pub enum ProberError {
    /// Echo sockets are refused.
    #[error(
        "the kernel refuses unprivileged ICMP sockets to this process: the sysctl net.ipv4.ping_group_range must include its group \
         (`sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"`), or set `privileged = true` and give it CAP_NET_RAW"
    )]
    EchoSocket(#[source] io::Error),
    /// Raw sockets are refused.
    #[error(
        "the kernel refuses raw sockets to this process, which `privileged = true` asks for: it needs CAP_NET_RAW (or root)"
    )]
    RawSocket(#[source] io::Error),
    /// Something that every process may have.
    #[error("cannot open {what}")]
    Other {
        /// What could not be had.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl ProberError {
    /// What became of opening an ICMP socket.
    pub(super) fn of_socket(privileged: bool, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) if privileged => Self::RawSocket(source),
            Some(libc::EPERM | libc::EACCES) => Self::EchoSocket(source),
            _ => Self::Other {
                what: "an ICMP socket",
                source,
            },
        }
    }

    /// For [`Result::map_err`].
    pub(super) fn other(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Other { what, source }
    }
}
