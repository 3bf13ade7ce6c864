//! A silent cut: from one instant on a provider's end of the wire swallows whatever comes and goes. The carrier stays, nobody is told, and
//! neither echo requests nor BFD nor ARP pass.

use std::{
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

use anyhow::{Context, Result};

use crate::{
    bench::bpf::{self, Hook, Kind},
    lab::{
        namespace::Namespace,
        provider::{Provider, ROUTER_SIDE},
    },
};

/// `TC_ACT_SHOT`
const DROP: i32 = 2;

/// What swallows, ready to be put in the way.
pub(super) struct Knife {
    program: OwnedFd,
    ifindex: u32,
}

/// A cut; dropped, everything passes again.
pub(super) struct Cut {
    _hooks: [OwnedFd; 2],
    /// Just before the first packet was swallowed.
    pub(super) at: Instant,
}

impl Knife {
    pub(super) fn new(provider: &Provider) -> Result<Self> {
        let program =
            bpf::load_returning(Kind::Classifier, DROP).context("cannot load a filter")?;
        let ifindex = provider.namespace.ifindex(ROUTER_SIDE);
        Ok(Self { program, ifindex })
    }

    /// Two system calls of some microseconds.
    pub(super) fn cut(&self, namespace: &Namespace) -> Result<Cut> {
        namespace.enter(|| {
            let program = self.program.as_fd();
            let at = Instant::now();
            let hooks = [
                bpf::attach(program, self.ifindex, Hook::TcxIngress)?,
                bpf::attach(program, self.ifindex, Hook::TcxEgress)?,
            ];
            Ok(Cut { _hooks: hooks, at })
        })
    }
}
