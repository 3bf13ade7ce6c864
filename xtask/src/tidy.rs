//! What neither rustfmt nor clippy looks at: the habits of this project, file by file.

mod code;

use std::{
    fmt::{self, Display, Formatter},
    fs,
};

use anyhow::{Context, Result, bail};

use crate::{invocation::Invocation, workspace::Workspace};

/// A file of this many lines is still read in one go; above it, a note says so.
const LINES_AIM: usize = 250;

/// A longer file is split.
const LINES_MAX: usize = 400;

/// What fits on a screen beside another file.
const CHARACTERS_MAX: usize = 140;

/// Directories that are somebody's own and no other's. In pieces, or this file would break its own rule.
const PRIVATE_PLACES: [&str; 3] = [
    concat!("/", "root"),
    concat!("/", "work"),
    concat!("/", "tmp/wt"),
];

/// Something that is not as it should be, and where.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    file: String,
    /// From one.
    line: usize,
    what: String,
}

impl Display for Finding {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Looks at every file that is in the repository or would get into it.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut findings = Vec::new();
    let mut files = 0_usize;
    for file in files_of(workspace)? {
        let Ok(bytes) = fs::read(workspace.root.join(&file)) else {
            continue; // Deleted, and not yet committed so.
        };
        let Ok(text) = String::from_utf8(bytes) else {
            continue; // A picture, say.
        };
        files += 1;
        let lines = text.lines().count();
        if is_rust(&file) && (LINES_AIM + 1..=LINES_MAX).contains(&lines) {
            println!("note: {file}: {lines} lines, aim for {LINES_AIM}");
        }
        findings.extend(findings_in(&file, &text));
    }
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("{files} files are tidy");
            Ok(())
        }
        count => bail!("{count} findings in {files} files"),
    }
}

fn files_of(workspace: &Workspace) -> Result<Vec<String>> {
    let output = Invocation::new("git")
        .arguments([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .directory(&workspace.root)
        .output()?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("git cannot list the files: {}", complaint.trim_end());
    }
    let names = String::from_utf8(output.stdout).context("the name of a file is not UTF-8")?;
    let mut files: Vec<_> = names.split_terminator('\0').map(str::to_owned).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

fn is_rust(file: &str) -> bool {
    file.ends_with(".rs")
}

fn findings_in(file: &str, text: &str) -> Vec<Finding> {
    let mut complaints = lines_of_text(file, text);
    if is_rust(file) {
        complaints.extend(whole_file(file, text));
        complaints.extend(lines_of_code(file, text));
    }
    complaints.sort();
    let finding = |(line, what)| Finding {
        file: file.to_owned(),
        line,
        what,
    };
    complaints.into_iter().map(finding).collect()
}

fn whole_file(file: &str, text: &str) -> Vec<(usize, String)> {
    let mut complaints = Vec::new();
    if !text.starts_with("//!") {
        complaints.push((1, "a file opens with `//!`: what is its job?".to_owned()));
    }
    if file.ends_with("/mod.rs") {
        complaints.push((1, "`foo.rs` beside `foo/`, not `mod.rs`".to_owned()));
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        complaints.push((
            LINES_MAX + 1,
            format!("{lines} lines, at most {LINES_MAX}: split it"),
        ));
    }
    complaints
}

fn lines_of_text(file: &str, text: &str) -> Vec<(usize, String)> {
    let mut complaints = Vec::new();
    // Machines write the one; a table's row cannot be broken.
    let may_be_long = |line: &str| file.ends_with("Cargo.lock") || is_table_row(file, line);
    for (line, number) in text.split('\n').zip(1..) {
        let characters = line.chars().count();
        if characters > CHARACTERS_MAX && !may_be_long(line) {
            let what = format!("{characters} characters, at most {CHARACTERS_MAX}");
            complaints.push((number, what));
        }
        if line.ends_with([' ', '\t', '\r']) {
            complaints.push((number, "a blank at the end of the line".to_owned()));
        }
        for place in PRIVATE_PLACES
            .iter()
            .filter(|place| names_directory(line, place))
        {
            complaints.push((number, format!("a path that only one machine has: {place}")));
        }
    }
    complaints
}

fn is_table_row(file: &str, line: &str) -> bool {
    file.ends_with(".md") && line.starts_with('|')
}

/// Whether a line has this absolute path, as itself or as the beginning of a longer one.
fn names_directory(line: &str, directory: &str) -> bool {
    let in_name = |character: char| character.is_ascii_alphanumeric() || "_-.~".contains(character);
    line.match_indices(directory).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + directory.len()..].chars().next();
        !before.is_some_and(|character| in_name(character) || "/}*".contains(character))
            && !after.is_some_and(in_name)
    })
}

fn lines_of_code(file: &str, text: &str) -> Vec<(usize, String)> {
    let code = code::without_comments_and_literals(text);
    let tests = code::test_lines(&code);
    let mut complaints = Vec::new();
    let mut follows_test_attribute = false;
    for (line, number) in code.lines().zip(1..) {
        let in_test = is_test_file(file) || tests.iter().any(|lines| lines.contains(&number));
        if !in_test && line.contains(".unwrap()") {
            let what = "`.unwrap()` outside tests: `expect` tells the invariant";
            complaints.push((number, what.to_owned()));
        }
        if line.contains("#[allow(") || line.contains("#![allow(") {
            let what = "`allow` outlives its cause: `#[expect(.., reason = \"..\")]`";
            complaints.push((number, what.to_owned()));
        }
        if follows_test_attribute && line.contains("fn test_") {
            let what = "a test's name is a sentence, without `test_`";
            complaints.push((number, what.to_owned()));
        }
        if line.contains("#[ignore") {
            let what = "an ignored test is none: mend or remove it";
            complaints.push((number, what.to_owned()));
        }
        follows_test_attribute = match line.trim_start() {
            "#[test]" => true,
            line if line.starts_with("#[tokio::test") => true,
            line => follows_test_attribute && line.starts_with("#["),
        };
    }
    complaints
}

/// `foo/tests.rs`, what lies below `foo/tests/`, and integration tests; the package called `tests` is a tool but for those.
fn is_test_file(file: &str) -> bool {
    file.strip_prefix("tests/")
        .unwrap_or(file)
        .split('/')
        .any(|part| part == "tests" || part == "tests.rs")
}

#[cfg(test)]
mod tests;
