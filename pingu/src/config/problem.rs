//! What is wrong with a configuration, said so that it can be found: file, line, column, key, what was found, what is allowed.

use std::{fmt, io, ops::Range, path::PathBuf};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, but may not mean what was meant.
    Warning,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file's name as given.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The place in the file, as byte offsets.
    pub span: Range<usize>,
    /// What is wrong, beginning with the key.
    pub message: String,
}

impl Problem {
    pub(super) fn new(
        severity: Severity,
        file: &str,
        text: &str,
        span: Range<usize>,
        message: String,
    ) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        let file = file.to_owned();
        Self {
            severity,
            file,
            line,
            column,
            span,
            message,
        }
    }

    /// The problem with its line of `text`, which must be the text it was found in.
    fn render(&self, text: &str) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let place = AnnotationKind::Primary.span(self.span.clone());
        let snippet = Snippet::source(text).path(&self.file).annotation(place);
        let report = [level.primary_title(&self.message).element(snippet)];
        format!("{}\n", Renderer::styled().render(&report))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(
            f,
            "{}:{}:{}: {severity}: {}",
            self.file, self.line, self.column, self.message
        )
    }
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// In the order of the file; never empty, and may hold warnings beside errors.
    pub list: Vec<Problem>,
    /// The whole text, to show the places in.
    pub text: String,
}

impl Problems {
    /// The problems, each with its line of the file and the place underlined, in colour, for a person at a terminal.
    pub fn render(&self) -> String {
        self.list
            .iter()
            .map(|problem| problem.render(&self.text))
            .collect()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list
            .iter()
            .try_for_each(|problem| writeln!(f, "{problem}"))
    }
}

impl std::error::Error for Problems {}

/// Why a configuration file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It could not be read.
    #[error("{path}: error: cannot be read: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is larger than any configuration could be.
    #[error("{path}: error: larger than {max_bytes} bytes, the most that a configuration may have", path = .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        max_bytes: u64,
    },
    /// It is wrong.
    #[error(transparent)]
    Wrong(#[from] Problems),
}

/// Collects findings about one text.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    file: &'a str,
    text: &'a str,
    /// Whether the text's syntax is right throughout.
    pub(super) whole: bool,
    found: Vec<Problem>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(file: &'a str, text: &'a str, whole: bool) -> Self {
        Self {
            file,
            text,
            whole,
            found: Vec::new(),
        }
    }

    pub(super) fn error(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.add(Severity::Error, span, message.into());
    }

    pub(super) fn warning(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.add(Severity::Warning, span, message.into());
    }

    /// The text between two offsets, for messages that quote what was found.
    pub(super) fn quote(&self, span: Range<usize>) -> &'a str {
        self.text.get(span).unwrap_or_default()
    }

    fn add(&mut self, severity: Severity, span: Range<usize>, message: String) {
        self.found
            .push(Problem::new(severity, self.file, self.text, span, message));
    }

    /// All findings in the order of the file, without those on a line whose syntax is broken already: they follow from that.
    /// What `[probe]` says wrong for every uplink is said once.
    pub(super) fn into_list(mut self, broken: &[Problem]) -> Vec<Problem> {
        self.found
            .retain(|found| broken.iter().all(|broken| broken.line != found.line));
        self.found.extend_from_slice(broken);
        self.found.sort_by_key(|problem| problem.span.start);
        self.found.dedup();
        self.found
    }
}
