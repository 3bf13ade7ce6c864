//! What the kernel's news make the loop do.

use std::io;

use anyhow::Context;

use crate::{
    daemon::{Daemon, actor, clock},
    netlink::watch::Watch,
    network::{Interference, News},
};

impl Daemon {
    pub(super) fn take_news(&mut self, news: io::Result<News>) -> anyhow::Result<()> {
        match news {
            Ok(News::Neighbour(neighbour)) => {
                self.lookout.note_neighbour(&neighbour);
                self.engine.neighbour(&neighbour, clock());
            }
            Ok(News::Changed) => self.look_soon(),
            Ok(News::Interfered(what)) => self.take_interference(&what),
            Ok(News::Overrun) => {
                tracing::debug!("news were lost, looking at everything again");
                self.look_soon();
            }
            Err(error) => {
                tracing::warn!(%error, "the news socket failed, opening another");
                self.watch = Watch::new(self.engine.config().protocol)
                    .context("cannot listen to the kernel's news")?;
                self.watch.know_own(self.routes.ports());
                self.look_soon();
            }
        }
        Ok(())
    }

    /// Finds out at once who it was: programs that delete a route often end in the next millisecond.
    fn take_interference(&mut self, what: &Interference) {
        let by = actor::behind(what.port);
        tracing::debug!(deed = ?what.deed, route = %what.route, by, "an own route was touched");
        if let Some(fight) = self.engine.interfered(what, by, clock()) {
            tracing::warn!("{fight}");
        }
    }
}
