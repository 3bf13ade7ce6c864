//! dpinger's command line, in a file that has one or more.

use super::{draft::Draft, findings::Findings};

/// The line of the first one.
pub(super) fn first_line(_text: &str) -> Option<usize> {
    None
}

/// Reads the file.
pub(super) fn convert(_text: &str, findings: &mut Findings) -> Draft {
    findings.error(1, "cannot be imported");
    Draft::default()
}
