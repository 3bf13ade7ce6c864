//! Who pins an uplink: a person by command, until that is cleared, or the sticky file, which wins while it names an uplink.

use std::fmt::Display;

use crate::{
    control::{Answer, Pinned, Reply},
    daemon::{
        Daemon, clock,
        sticky::{Sticky, Word},
    },
    engine::{Engine, PinnedBy, Status},
    units::UplinkId,
};

/// Both pins.
#[derive(Debug, Default)]
pub(super) struct Pins {
    /// The uplink that `pingu pin` named last.
    command: Option<UplinkId>,
    sticky: Option<Sticky>,
    /// The uplink that the sticky file names.
    file: Option<UplinkId>,
    /// Why the sticky file pins nothing although it says something.
    complaint: Option<String>,
}

impl Pins {
    /// The pin by command that an earlier run remembered, and the sticky file.
    pub(super) fn new(engine: &Engine, remembered: Option<&str>, sticky: Option<Sticky>) -> Self {
        let command = remembered.and_then(|name| {
            let found = uplink_named(engine, name);
            if found.is_none() {
                tracing::warn!(
                    name,
                    known = names(engine),
                    "the pinned uplink is not in this configuration; it is pinned no more"
                );
            }
            found
        });
        Self {
            command,
            sticky,
            file: None,
            complaint: None,
        }
    }

    /// What the next start should know.
    pub(super) fn remembered(&self, engine: &Engine) -> Option<String> {
        self.command.map(|id| name_of(engine, id))
    }

    /// Whether there is a sticky file to be heard of.
    pub(super) fn follows_a_file(&self) -> bool {
        self.sticky.is_some()
    }

    /// Waits until the sticky file says something else; safe to cancel.
    pub(super) async fn changed(&mut self) {
        match &mut self.sticky {
            Some(sticky) => sticky.changed().await,
            None => std::future::pending().await,
        }
    }

    /// Adds to the status by what an uplink is pinned, and what is wrong with the sticky file.
    pub(super) fn amend(&self, status: &mut Status) {
        status.pinned_by = self.effective().map(|(_, by)| by);
        status.warnings.extend(self.complaint.clone());
    }

    fn effective(&self) -> Option<(UplinkId, PinnedBy)> {
        let by_file = self.file.map(|id| (id, PinnedBy::File));
        by_file.or(self.command.map(|id| (id, PinnedBy::Command)))
    }

    /// Takes what the sticky file says.
    fn read_file(&mut self, engine: &Engine) {
        let Some(sticky) = &mut self.sticky else {
            return;
        };
        let word = sticky.word();
        let file = sticky.path.display();
        let (named, complaint) = match &word {
            Word::Nothing => (None, None),
            Word::Text(name) => match uplink_named(engine, name) {
                Some(id) => (Some(id), None),
                None => {
                    let why = format!("\"{name}\" is no uplink");
                    (None, Some(nobody(&file, &why, engine)))
                }
            },
            Word::Nonsense(why) => (None, Some(nobody(&file, why, engine))),
            // Whatever hinders the reading, a lack of descriptors perhaps, is no word to move traffic.
            Word::Unreadable(error) => (
                self.file,
                Some(format!("the sticky file {file} cannot be read: {error}")),
            ),
        };
        if let Some(complaint) = &complaint
            && self.complaint.as_ref() != Some(complaint)
        {
            tracing::warn!("{complaint}");
        }
        (self.file, self.complaint) = (named, complaint);
    }
}

fn nobody(file: &impl Display, why: &str, engine: &Engine) -> String {
    let known = names(engine);
    format!("the sticky file {file} pins nothing: {why}; there are: {known}")
}

impl Daemon {
    /// Takes what the sticky file says.
    pub(super) fn read_sticky_file(&mut self) {
        self.pins.read_file(&self.engine);
        self.apply_pins();
    }

    /// Pins an uplink by command, or no more, and answers when that has been noted for the next start.
    pub(super) fn pin(&mut self, name: Option<&str>, reply: Reply) {
        let uplink = name.map(|name| (name, uplink_named(&self.engine, name)));
        if let Some((name, None)) = uplink {
            let known = names(&self.engine);
            reply.send(&refusal(format!(
                "there is no uplink \"{}\"; there are: {known}",
                name.escape_debug()
            )));
            return;
        }
        let by_file = self
            .pins
            .file
            .zip(self.pins.sticky.as_ref())
            .map(|(id, sticky)| {
                let name = name_of(&self.engine, id);
                format!("the sticky file {} pins {name}", sticky.path.display())
            });
        if let (Some(by_file), Some(_)) = (&by_file, uplink) {
            reply.send(&refusal(format!(
                "{by_file} and has the last word; empty it first"
            )));
            return;
        }
        self.pins.command = uplink.and_then(|(_, id)| id);
        self.apply_pins();
        let mut pinned = Pinned {
            pinned: self.engine.pinned().map(|id| name_of(&self.engine, id)),
            notes: by_file.into_iter().collect(),
        };
        self.saver.hurry(
            Box::new(move |outcome| {
                if let Err(error) = outcome {
                    let note = format!("this will be forgotten at the next start: {error}");
                    pinned.notes.push(note);
                }
                reply.send(&Answer::Ok(pinned));
            }),
            clock(),
        );
    }

    fn apply_pins(&mut self) {
        let effective = self.pins.effective();
        let pinned = effective.map(|(id, _)| id);
        if pinned != self.engine.pinned() {
            match effective {
                Some((id, by)) => {
                    let uplink = name_of(&self.engine, id);
                    tracing::info!(uplink, ?by, "pinned");
                }
                None => tracing::info!("no uplink is pinned any more"),
            }
            self.engine.pin(pinned, clock());
        }
    }
}

fn refusal(why: String) -> Answer<Pinned> {
    Answer::Error(why)
}

fn name_of(engine: &Engine, id: UplinkId) -> String {
    engine.config().uplinks[id.index()].name.clone()
}

/// The uplink of this name; white space around it does not count.
fn uplink_named(engine: &Engine, name: &str) -> Option<UplinkId> {
    let uplinks = &engine.config().uplinks;
    let index = uplinks
        .iter()
        .position(|uplink| uplink.name == name)
        .or_else(|| {
            uplinks
                .iter()
                .position(|uplink| uplink.name.trim() == name.trim())
        })?;
    Some(UplinkId(index as u16))
}

fn names(engine: &Engine) -> String {
    let names: Vec<&str> = engine
        .config()
        .uplinks
        .iter()
        .map(|uplink| uplink.name.as_str())
        .collect();
    names.join(", ")
}
