//! A silent cut: from one instant on a provider's end of the wire swallows whatever comes and goes. The carrier stays, nobody is told, and
//! neither echo requests nor BFD nor ARP pass.

use std::{os::fd::OwnedFd, time::Instant};

use anyhow::{Context, Result};

use crate::{
    bench::bpf::{self, Hook, Switch},
    lab::provider::{Provider, ROUTER_SIDE},
};

/// `TC_ACT_UNSPEC`
const PASS: i32 = -1;

/// `TC_ACT_SHOT`
const DROP: i32 = 2;

/// What swallows, in the way from the beginning: attaching a program holds the lock that routes are changed under for some ten
/// milliseconds, which would count for whoever wants to change one.
pub(super) struct Knife {
    switch: Switch,
    _hooks: [OwnedFd; 2],
}

/// A cut; dropped, everything passes again.
pub(super) struct Cut<'a> {
    switch: &'a Switch,
    /// Just before the first packet was swallowed.
    pub(super) at: Instant,
}

impl Knife {
    pub(super) fn new(provider: &Provider) -> Result<Self> {
        let switch = Switch::load(PASS).context("cannot load a filter")?;
        let ifindex = provider.namespace.ifindex(ROUTER_SIDE);
        let hooks = provider.namespace.enter(|| {
            Ok::<_, anyhow::Error>([
                bpf::attach(switch.program(), ifindex, Hook::TcxIngress)?,
                bpf::attach(switch.program(), ifindex, Hook::TcxEgress)?,
            ])
        })?;
        Ok(Self {
            switch,
            _hooks: hooks,
        })
    }

    /// One system call of a microsecond.
    pub(super) fn cut(&self) -> Result<Cut<'_>> {
        let at = Instant::now();
        self.switch.set(DROP)?;
        let switch = &self.switch;
        Ok(Cut { switch, at })
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        self.switch.set(PASS).expect("the map has this place");
    }
}
