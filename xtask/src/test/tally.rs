//! How many tests passed and failed, read from what the test programs print.

use std::{
    fmt::{self, Display, Formatter},
    ops::Add,
};

/// Tests by their outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl Tally {
    /// Takes notice of a line, if it is one that sums up.
    pub(crate) fn see(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let count = |outcome: &str| {
            let (before, _) = result.split_once(outcome)?;
            before.rsplit(' ').next()?.parse::<u32>().ok()
        };
        self.passed += count(" passed").unwrap_or(0);
        self.failed += count(" failed").unwrap_or(0);
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
        }
    }
}

impl Display for Tally {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_sum_up_are_added() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test a_result ... ok",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.01s",
            "9 passed; 9 failed",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 2.00s",
        ] {
            tally.see(line);
        }
        assert_eq!(tally.to_string(), "13 passed, 2 failed");
    }
}
