//! Named pieces of work, one after the other: each says how long it took, and a failure does not keep the next from its turn.

use std::time::Instant;

use anyhow::{Result, bail};

/// What was done so far, and what of it failed.
#[derive(Default)]
pub(crate) struct Steps {
    failed: Vec<String>,
}

impl Steps {
    /// Does one thing, between two lines that name it.
    pub(crate) fn take(&mut self, name: &str, work: impl FnOnce() -> Result<()>) {
        eprintln!("== {name}");
        let started = Instant::now();
        let outcome = work();
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => eprintln!("== {name}: ok, {seconds:.1} s\n"),
            Err(error) => {
                eprintln!("== {name}: FAILED, {seconds:.1} s: {error:#}\n");
                self.failed.push(name.to_owned());
            }
        }
    }

    /// An error that lists what failed.
    pub(crate) fn finish(self) -> Result<()> {
        if self.failed.is_empty() {
            return Ok(());
        }
        bail!("failed: {}", self.failed.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_nothing_from_its_turn_and_is_named_in_the_end() {
        let mut steps = Steps::default();
        let mut taken = Vec::new();
        steps.take("first", || bail!("broken"));
        steps.take("second", || {
            taken.push("second");
            Ok(())
        });
        steps.take("third", || bail!("broken too"));
        assert_eq!(taken, ["second"]);
        assert_eq!(
            steps.finish().unwrap_err().to_string(),
            "failed: first, third"
        );
    }

    #[test]
    fn without_a_failure_there_is_no_error() {
        let mut steps = Steps::default();
        steps.take("only", || Ok(()));
        assert!(steps.finish().is_ok());
    }
}
