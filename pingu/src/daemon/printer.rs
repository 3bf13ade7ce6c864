//! Prints on standard output beside the loop: a reader that does not read stops nothing.

use std::{
    io::{self, Write},
    thread::{self, JoinHandle},
};

/// Prints one line at a time.
#[derive(Debug, Default)]
pub(super) struct Printer {
    under_way: Option<JoinHandle<()>>,
}

impl Printer {
    /// Prints a line, unless the last one is not through yet.
    pub(super) fn print(&mut self, mut line: String) {
        if self.under_way.as_ref().is_some_and(|p| !p.is_finished()) {
            tracing::warn!("nobody reads standard output: a line is not printed");
            return;
        }
        line.push('\n');
        // Not a task of the runtime, whose end would wait for it.
        let spawned = thread::Builder::new().spawn(move || {
            let mut out = io::stdout().lock();
            if let Err(error) = out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
                tracing::debug!(%error, "standard output takes nothing");
            }
        });
        match spawned {
            Ok(printing) => self.under_way = Some(printing),
            Err(error) => tracing::warn!(%error, "cannot print"),
        }
    }
}
