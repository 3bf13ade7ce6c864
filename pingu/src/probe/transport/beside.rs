//! Hooks that a thread attaches and takes off, while probes go on over the other interfaces. Until its hooks stand an interface is not
//! served, or by what served it before: nothing is concluded from that.

use std::{collections::BTreeMap, io};

use super::{Served, Transport, first_line};
use crate::{
    config::EngineChoice,
    probe::{
        EngineKind,
        kernel::{
            AttachError,
            attach::Attachment,
            attacher::{self, Attacher, Attempt},
        },
    },
    units::Ifindex,
};

/// What has become of an attempt to attach.
pub(crate) type Made = attacher::Made<Attachment>;

/// Where that comes.
pub(crate) type Outcomes = attacher::Outcomes<Attachment>;

/// The thread, and what it was asked for.
pub(super) struct Beside {
    attacher: Attacher<Attachment>,
    /// The attempts that count; another one's outcome is for an interface that went meanwhile.
    attempts: BTreeMap<Ifindex, Attempt>,
}

/// How an attempt to serve an interface goes on.
pub(crate) enum Begun {
    /// It is over.
    Over(Result<Served, AttachError>),
    /// Its outcome comes later.
    UnderWay,
}

impl Transport {
    /// Has hooks attached and taken off by a thread from here on. Returns where outcomes come; none if there are no hooks.
    pub(crate) fn attach_beside(&mut self) -> io::Result<Option<Outcomes>> {
        let Some(kernel) = &self.kernel else {
            return Ok(None);
        };
        let (attacher, outcomes) = kernel.attacher()?;
        self.beside = Some(Beside {
            attacher,
            attempts: BTreeMap::new(),
        });
        Ok(Some(outcomes))
    }

    /// Whether [`Self::begin`] may be called.
    pub(crate) fn has_room(&self) -> bool {
        let beside = self.beside.as_ref();
        beside.is_none_or(|beside| beside.attacher.has_room())
    }

    /// Whether outcomes are to come.
    pub(crate) fn is_attaching(&self) -> bool {
        let beside = self.beside.as_ref();
        beside.is_some_and(|beside| beside.attacher.is_busy())
    }

    /// Begins to serve an interface as [`Self::attach`] does. Hooks that serve it already are taken off first, since what they left behind
    /// may be in the way; sockets serve it until hooks do.
    pub(crate) fn begin(&mut self, ifindex: Ifindex, bare: bool) -> Begun {
        if self.beside.is_none() {
            return Begun::Over(self.attach(ifindex, bare));
        }
        if self.has_hooks(ifindex) {
            // What they do not see from here on is neither lost nor missed.
            self.unwatch(ifindex);
            self.take_off(ifindex);
            if let Some(kernel) = &mut self.kernel {
                kernel.doubt(ifindex);
            }
        }
        if let Some(Beside { attacher, attempts }) = &mut self.beside {
            attempts.insert(ifindex, attacher.begin(ifindex, bare));
        }
        Begun::UnderWay
    }

    /// Takes what an attempt came to, and says what serves the interface then; none if it is not wanted any more.
    pub(crate) fn finish(&mut self, made: Made) -> Option<(Ifindex, Result<Served, AttachError>)> {
        let Beside { attacher, attempts } = self.beside.as_mut()?;
        attacher.took_one();
        let (ifindex, bare) = (made.ifindex, made.bare);
        if attempts.get(&ifindex) != Some(&made.attempt) {
            if let Ok(attachment) = made.outcome {
                attacher.end(attachment);
            }
            return None;
        }
        attempts.remove(&ifindex);
        let served = match made.outcome {
            Ok(attachment) => Ok(self.serve_by(ifindex, bare, attachment)),
            Err(error) if self.choice == EngineChoice::Ebpf => Err(error),
            Err(error) => self.attach_sockets_only(ifindex, bare, first_line(error)),
        };
        Some((ifindex, self.note(ifindex, served)))
    }

    fn serve_by(&mut self, ifindex: Ifindex, bare: bool, attachment: Attachment) -> Served {
        if let Some(socket) = &mut self.socket {
            socket.detach(ifindex);
        }
        let kernel = self.kernel.as_mut();
        let kernel = kernel.expect("without programs nothing is attached");
        Served {
            engine: kernel.adopt(attachment, bare),
            reason: None,
        }
    }

    /// Takes the hooks off an interface, and drops an attempt to attach some.
    pub(super) fn take_off(&mut self, ifindex: Ifindex) {
        let kernel = self.kernel.as_mut();
        let attachment = kernel.and_then(|kernel| kernel.release(ifindex));
        if let Some(Beside { attacher, attempts }) = &mut self.beside {
            attempts.remove(&ifindex);
            if let Some(attachment) = attachment {
                attacher.end(attachment);
            }
        }
    }

    fn has_hooks(&self, ifindex: Ifindex) -> bool {
        let kernel = self.kernel.as_ref();
        let engine: Option<EngineKind> = kernel.and_then(|kernel| kernel.engine(ifindex));
        engine.is_some()
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        let attached = self.kernel.as_ref().map(|kernel| kernel.attached());
        for ifindex in attached.into_iter().flatten() {
            self.take_off(ifindex);
        }
        // This waits for it.
        self.beside = None;
    }
}
