//! One pingu for each protocol number in a network namespace: two would undo each other's routes.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
};

use anyhow::{Context, bail};

use crate::units::Protocol;

/// The claim; it ends with the process, however that ends.
#[derive(Debug)]
pub(super) struct Instance {
    _listener: UnixListener,
}

impl Instance {
    /// Claims the protocol number in this network namespace: abstract socket names are the namespace's own.
    pub(super) fn claim(protocol: Protocol) -> anyhow::Result<Self> {
        let name = SocketAddr::from_abstract_name(format!("pingu/protocol/{protocol}"))?;
        match UnixListener::bind_addr(&name) {
            Ok(listener) => Ok(Self {
                _listener: listener,
            }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                bail!("another pingu with protocol {protocol} runs in this network namespace")
            }
            Err(error) => Err(error).context("cannot claim the protocol number"),
        }
    }
}
