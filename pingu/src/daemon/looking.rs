//! When the loop has the kernel looked at, and what it makes of what was seen.

use std::time::Duration;

use anyhow::Context;

use crate::{
    daemon::{
        AUDIT_EVERY, BACK_OFF, Daemon, clock,
        lookout::{Meanwhile, Sight},
    },
    netlink::NetlinkError,
};

/// Our own changes come back as news, and others' come in heaps: after one look, which takes about a millisecond, the next waits
/// this long. A carrier that is lost just after a look shall be seen well within 100 ms, on a busy machine too.
const DEBOUNCE: Duration = Duration::from_millis(20);

/// A look among ten thousand routes takes long itself; the pause grows with it up to this.
const DEBOUNCE_MAX: Duration = Duration::from_millis(60);

/// So many looks that fail in a row are said aloud: one or two may meet a table that changes too fast.
const LOOKS_FAILED_TOLD: u32 = 3;

impl Daemon {
    pub(super) fn look_soon(&mut self) {
        if !self.lookout.note_change() {
            self.look_at = self.look_at.min(self.last_look + self.pause());
        }
    }

    /// Has the kernel looked at. What changes from here on asks for another look.
    pub(super) async fn begin_look(&mut self) -> anyhow::Result<()> {
        self.look_began = clock();
        // Without a first look there is nothing to hold up, and nothing to be said; without the thread the loop looks itself.
        if self.engine.is_oriented() && self.lookout.ask() {
            return Ok(());
        }
        let sight = self.fresh_snapshot().await;
        self.take_sight(sight, &Meanwhile::default())
    }

    /// Takes what the thread saw.
    pub(super) fn take_look(&mut self, sight: Option<Sight>) -> anyhow::Result<()> {
        let meanwhile = self.lookout.end();
        match sight {
            Some(sight) => self.take_sight(sight, &meanwhile),
            None => {
                self.look_at = clock();
                Ok(())
            }
        }
    }

    /// Lets the engine know how the kernel is, and hooks follow the interfaces.
    fn take_sight(&mut self, sight: Sight, meanwhile: &Meanwhile) -> anyhow::Result<()> {
        let snapshot = match sight {
            Ok(snapshot) => snapshot,
            Err(error @ NetlinkError::Closed) => {
                return Err(error).context("cannot look at the kernel's routes");
            }
            Err(error) => {
                self.look_failed(&error);
                return Ok(());
            }
        };
        let now = clock();
        self.last_look = now;
        self.look_succeeded();
        self.engine.network(snapshot, now);
        for neighbour in meanwhile.neighbours() {
            self.engine.neighbour(neighbour, now);
        }
        self.look_took = clock().saturating_duration_since(self.look_began);
        self.look_at = now
            + if meanwhile.changed {
                self.pause()
            } else {
                AUDIT_EVERY
            };
        self.flows.observe(&self.engine, now);
        self.hooks_due = true;
        Ok(())
    }

    /// How long the kernel is left alone after a look.
    fn pause(&self) -> Duration {
        self.look_took.clamp(DEBOUNCE, DEBOUNCE_MAX)
    }

    /// Another look follows, after a while.
    fn look_failed(&mut self, error: &NetlinkError) {
        self.looks_failed += 1;
        if self.looks_failed == LOOKS_FAILED_TOLD {
            tracing::warn!(%error, "the kernel's routes cannot be seen: nothing follows them until they can");
        } else {
            tracing::debug!(%error, "this look failed, another follows");
        }
        self.last_look = clock();
        self.look_at = self.last_look + BACK_OFF;
    }

    fn look_succeeded(&mut self) {
        if std::mem::take(&mut self.looks_failed) >= LOOKS_FAILED_TOLD {
            tracing::info!("the kernel's routes can be seen again");
        }
    }
}
