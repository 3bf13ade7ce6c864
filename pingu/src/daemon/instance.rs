//! One pingu for each protocol number in a network namespace: two would undo each other's routes.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
};

use anyhow::{Context, bail};

use crate::units::Protocol;

/// The claim; it ends with the process, however that ends.
#[derive(Debug)]
pub(super) struct Instance {
    _listener: Option<UnixListener>,
}

impl Instance {
    /// Claims the protocol number in this network namespace: abstract socket names are the namespace's own. Anybody may bind such
    /// a name, so one that is held by somebody who could not write routes anyway does not count.
    pub(super) fn claim(protocol: Protocol) -> anyhow::Result<Self> {
        let name = SocketAddr::from_abstract_name(format!("pingu/protocol/{protocol}"))?;
        match UnixListener::bind_addr(&name) {
            Ok(listener) => Ok(Self {
                _listener: Some(listener),
            }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => match holder(&name) {
                Ok(uid) if uid != 0 && uid != own_uid() => {
                    tracing::warn!(
                        uid,
                        "an unprivileged user holds the name that keeps a second pingu out; going on without"
                    );
                    Ok(Self { _listener: None })
                }
                _ => bail!("another pingu with protocol {protocol} runs in this network namespace"),
            },
            Err(error) => Err(error).context("cannot claim the protocol number"),
        }
    }
}

/// The user who listens there.
fn holder(name: &SocketAddr) -> io::Result<u32> {
    let stream = UnixStream::connect_addr(name)?;
    stream.set_nonblocking(true)?;
    Ok(tokio::net::UnixStream::from_std(stream)?.peer_cred()?.uid())
}

fn own_uid() -> u32 {
    // SAFETY: it takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}
