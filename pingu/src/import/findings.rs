//! What there is to say about a foreign file, by line: what is wrong with it, what pingu has no counterpart for, and where pingu differs.

use std::fmt;

/// More than this tells nobody anything; the rest is counted.
const FINDINGS_MAX: usize = 500;

/// What is quoted from a file is cut here.
const QUOTE_CHARS_MAX: usize = 80;

/// What a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be imported.
    Error,
    /// This part has no counterpart in the result.
    NotCarriedOver,
    /// This part has one that is not quite the same, or had to be guessed.
    Differs,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it means.
    pub severity: Severity,
    /// The line of the original, counted from 1.
    pub line: usize,
    /// What there is to say, beginning with the key where there is one.
    pub message: String,
}

impl Finding {
    /// The finding as one line of a report on this file.
    pub fn in_file(&self, file: &str) -> String {
        format!("{}:{}: {self}", printable(file), self.line)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::NotCarriedOver => "not carried over",
            Severity::Differs => "note",
        };
        write!(f, "{word}: {}", self.message)
    }
}

/// Everything that was found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    /// How many more there were.
    left_out: usize,
    errors: usize,
}

impl Findings {
    pub(super) fn error(&mut self, line: usize, message: impl Into<String>) {
        self.errors += 1;
        self.add(Severity::Error, line, message.into());
    }

    pub(super) fn lost(&mut self, line: usize, message: impl Into<String>) {
        self.add(Severity::NotCarriedOver, line, message.into());
    }

    pub(super) fn differs(&mut self, line: usize, message: impl Into<String>) {
        self.add(Severity::Differs, line, message.into());
    }

    /// A value that is not what its key allows.
    pub(super) fn wrong(&mut self, line: usize, key: &str, allowed: &str, found: &str) {
        self.error(line, format!("`{key}` must be {allowed}, not {found}"));
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    pub(super) fn has_error_on(&self, line: usize) -> bool {
        let is_error = |finding: &Finding| finding.severity == Severity::Error;
        self.list
            .iter()
            .any(|finding| finding.line == line && is_error(finding))
    }

    /// All of them in the order of the file.
    pub(super) fn into_list(mut self) -> Vec<Finding> {
        self.list.sort_by_key(|finding| finding.line);
        self.list.dedup();
        if self.left_out > 0 {
            let line = self.list.last().map_or(1, |last| last.line);
            self.list.push(Finding {
                severity: if self.errors > 0 {
                    Severity::Error
                } else {
                    Severity::NotCarriedOver
                },
                line,
                message: format!("and {} more", self.left_out),
            });
        }
        self.list
    }

    fn add(&mut self, severity: Severity, line: usize, message: String) {
        if self.list.len() >= FINDINGS_MAX {
            self.left_out += 1;
            return;
        }
        let line = line.max(1);
        let message = one_line(&message);
        self.list.push(Finding {
            severity,
            line,
            message,
        });
    }
}

/// Something of the file as it may stand in a message: in quotes, cut where it is long.
pub(super) fn quote(text: &str) -> String {
    format!("\"{}\"", printable(text))
}

/// A text without control characters, cut where it is long.
pub(super) fn printable(text: &str) -> String {
    let mut short: String = one_line(text).chars().take(QUOTE_CHARS_MAX).collect();
    if text.chars().count() > QUOTE_CHARS_MAX {
        short.push('…');
    }
    short
}

/// A text without control characters, which may stand in a comment and on a terminal.
pub(super) fn one_line(text: &str) -> String {
    // The direction marks make a line look like another one.
    let is_hidden = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| match c {
            '\n' | '\t' | '\r' => ' ',
            c if c.is_control() || is_hidden(c) => '\u{fffd}',
            c => c,
        })
        .collect()
}
