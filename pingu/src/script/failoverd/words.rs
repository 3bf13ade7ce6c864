//! Losses in words.

use std::{io, net::IpAddr};

use crate::{engine, probe::IcmpError, script::probe::Loss};

/// What `ps:cause()` says.
pub(super) fn cause(loss: Loss, destination: IpAddr) -> String {
    match loss {
        Loss::NoReply => "no reply".to_owned(),
        Loss::NotSent(errno) => format!("not sent: {}", io::Error::from_raw_os_error(errno)),
        Loss::NoSource => "not sent: no such interface, or it has no address".to_owned(),
        Loss::NoNeighbour => "not sent: the next hop does not answer".to_owned(),
        Loss::Error { kind, code } => engine::icmp_words(&IcmpError {
            from: destination,
            kind,
            code,
        }),
    }
}
