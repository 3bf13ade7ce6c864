//! Which tests failed and what they said, read from what the test programs print.

/// A test that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) name: String,
    /// What it said, a line each, from where it said why.
    pub(super) words: Vec<String>,
}

/// More of a failure's lines than these are read above the summary.
const WORDS_MAX: usize = 20;

/// What the standard library writes above the stack of a test that panicked.
const BACKTRACE: &str = "stack backtrace:";

/// The failures of one program.
#[derive(Debug, Default)]
pub(super) struct Failures {
    found: Vec<Failure>,
    /// Whose words are being read, and whether the reason was among them yet.
    speaks: Option<(usize, bool)>,
}

impl Failures {
    /// Takes notice of a line, if it names a test that failed or is one of its words.
    pub(super) fn see(&mut self, line: &str) {
        if let Some(name) = named(line, "test ", " ... FAILED") {
            self.found.push(Failure {
                name: name.to_owned(),
                words: Vec::new(),
            });
        } else if let Some(name) = named(line, "---- ", " stdout ----") {
            let index = self.found.iter().position(|failure| failure.name == name);
            self.speaks = index.map(|index| (index, false));
        } else if line == "failures:" {
            self.speaks = None;
        } else if let Some((index, reason_seen)) = &mut self.speaks {
            *reason_seen |= line.contains(" panicked at ");
            let words = &mut self.found[*index].words;
            if line == BACKTRACE || words.len() == WORDS_MAX {
                self.speaks = None;
            } else if *reason_seen && !line.is_empty() {
                words.push(line.to_owned());
            }
        }
    }

    /// All of them, in the order of their ends.
    pub(super) fn into_found(self) -> Vec<Failure> {
        self.found
    }
}

fn named<'a>(line: &'a str, before: &str, after: &str) -> Option<&'a str> {
    line.strip_prefix(before)?.strip_suffix(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_found_with_their_reasons() {
        let mut failures = Failures::default();
        for line in [
            "running 3 tests",
            "test good ... ok",
            "test lab::bad ... FAILED",
            "test lab::worse ... FAILED",
            "",
            "failures:",
            "",
            "---- lab::worse stdout ----",
            "what it did before",
            "",
            "thread 'lab::worse' panicked at tests/lab.rs:1:2:",
            "a route is lost",
            "stack backtrace:",
            "   0: __rustc::rust_begin_unwind",
            "---- lab::bad stdout ----",
            "thread 'lab::bad' panicked at tests/lab.rs:3:4:",
            "",
            "failures:",
            "    lab::bad",
            "    lab::worse",
            "",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 2.00s",
        ] {
            failures.see(line);
        }
        let failure = |name: &str, words: &[&str]| Failure {
            name: name.to_owned(),
            words: words.iter().copied().map(str::to_owned).collect(),
        };
        assert_eq!(
            failures.into_found(),
            [
                failure(
                    "lab::bad",
                    &["thread 'lab::bad' panicked at tests/lab.rs:3:4:"]
                ),
                failure(
                    "lab::worse",
                    &[
                        "thread 'lab::worse' panicked at tests/lab.rs:1:2:",
                        "a route is lost"
                    ]
                ),
            ]
        );
    }

    #[test]
    fn without_failures_none_is_found() {
        let mut failures = Failures::default();
        failures.see("test good ... ok");
        failures.see("thread 'x' panicked at what a passing test expects:");
        assert_eq!(failures.into_found(), []);
    }
}
