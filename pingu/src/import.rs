//! `pingu import`: the configuration of another failover system becomes a commented one of pingu's, which means the same.
//!
//! Files are read as texts. Nothing of them is run, and nothing of this machine is looked up.

mod dpinger;
mod draft;
mod findings;
mod json;
mod kind;
mod multigateway;
mod mwan3;
mod py_pingu;
mod python;
mod shell;
mod two_gateway;
mod uci;
mod verb;

use std::{
    fmt,
    io::{self, Read},
    path::{Path, PathBuf},
};

pub use findings::{Finding, Severity};
pub use kind::Kind;
pub use verb::{Options, is_about_the_file, load_py_pingu, run};

use crate::{
    config::{self, Config},
    state_file::read_at_most,
};
use draft::Draft;
use findings::{Findings, printable};

/// Thousands of interfaces have a tenth of this.
const FILE_BYTES_MAX: usize = 1 << 20;

/// The result.
#[derive(Clone, Debug)]
pub struct Imported {
    /// What the original was taken for.
    pub kind: Kind,
    /// The configuration as text, with comments.
    pub toml: String,
    /// What that text says.
    pub config: Config,
    /// What could not be carried over, and where pingu differs.
    pub notes: Vec<Finding>,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file could not be read.
    #[error("{path}: error: cannot be read: {source}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is wrong, or nobody knows what it is.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Everything that is wrong with a file, and what else there is to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What messages call the file.
    pub file: String,
    /// In the order of the file; at least one is an error.
    pub list: Vec<Finding>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self
            .list
            .iter()
            .map(|one| one.in_file(&self.file))
            .collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Refusal {}

/// A file to be imported.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// What messages call it.
    pub file: &'a str,
    /// Its text.
    pub text: &'a str,
    /// OpenWrt's `/etc/config/network` that goes with it.
    pub network: Option<&'a str>,
}

/// Imports a file; without a kind, it is recognised.
///
/// # Errors
/// Everything that is wrong with it, by line.
pub fn import(original: Original<'_>, kind: Option<Kind>) -> Result<Imported, Refusal> {
    let mut findings = Findings::default();
    let refused = |findings: Findings| Refusal {
        file: original.file.to_owned(),
        list: findings.into_list(),
    };
    let text = original
        .text
        .strip_prefix('\u{feff}')
        .unwrap_or(original.text);
    if let Some(at) = text.find('\0') {
        let line = text[..at].matches('\n').count() + 1;
        findings.error(line, "a byte 0: this is no text");
        return Err(refused(findings));
    }
    let kind = match kind.map_or_else(|| kind::recognise(text, original.file), Ok) {
        Ok(kind) => kind,
        Err((line, message)) => {
            findings.error(line, message);
            return Err(refused(findings));
        }
    };
    let draft = match kind {
        Kind::PyPingu => py_pingu::convert(text, &mut findings),
        Kind::Multigateway => multigateway::convert(text, &mut findings),
        Kind::TwoGateway => two_gateway::convert(text, &mut findings),
        Kind::Mwan3 => mwan3::convert(text, original.network, &mut findings),
        Kind::Dpinger => dpinger::convert(text, &mut findings),
    };
    let config = load(&draft, &mut findings);
    match config {
        Some(config) if !findings.has_errors() => {
            let notes = findings.into_list();
            let toml = draft.render(&head(kind, original.file, &notes)).text;
            Ok(Imported {
                kind,
                toml,
                config,
                notes,
            })
        }
        _ => {
            if !findings.has_errors() {
                findings.error(1, "nothing in it can be imported");
            }
            Err(refused(findings))
        }
    }
}

/// Has the draft checked by pingu itself, and says what is wrong with it where that comes from.
fn load(draft: &Draft, findings: &mut Findings) -> Option<Config> {
    if draft.sections.is_empty() {
        return None;
    }
    let rendered = draft.render(&[]);
    let (config, problems) = match Config::parse(&rendered.text, "") {
        Ok((config, warnings)) => (Some(config), warnings),
        Err(problems) => (None, problems.list),
    };
    let known_wrong = findings.has_errors();
    for problem in problems {
        let origin = rendered.origin(problem.line);
        let line = origin.map_or(1, |origin| origin.line);
        let message = match origin {
            Some(origin) if !origin.key.is_empty() => {
                format!("`{}`: as pingu reads it, {}", origin.key, problem.message)
            }
            _ => format!("as pingu reads it, {}", problem.message),
        };
        match problem.severity {
            // What is missing follows from what was found to be wrong.
            config::Severity::Error
                if known_wrong
                    && (problem.message.contains("needed") || findings.has_error_on(line)) => {}
            config::Severity::Error => findings.error(line, message),
            config::Severity::Warning => findings.differs(line, message),
        }
    }
    config
}

/// What stands at the head of the result.
fn head(kind: Kind, file: &str, notes: &[Finding]) -> Vec<String> {
    let file = printable(file);
    let mut head = vec![
        format!("Made by `pingu import` from {file}, {}.", kind.title()),
        "Line numbers and names after # are those of that file. `pingu check` prints all of pingu's keys.".to_owned(),
    ];
    for (severity, title) in [
        (Severity::NotCarriedOver, "What could not be carried over:"),
        (
            Severity::Differs,
            "What is not quite the same, or was guessed:",
        ),
    ] {
        let of_kind = notes.iter().filter(|note| note.severity == severity);
        let lines: Vec<String> = of_kind
            .map(|note| format!("  line {}: {}", note.line, note.message))
            .collect();
        if !lines.is_empty() {
            head.push(String::new());
            head.push(title.to_owned());
            head.extend(lines);
        }
    }
    head
}

/// Whether a configuration for the daemon is one of py-pingu's: it is called so, or begins as JSON does and TOML never.
pub fn is_py_pingu(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"))
        // A pipe could be read only once.
        || std::fs::metadata(path).is_ok_and(|found| found.is_file())
            && read_at_most(path, FILE_BYTES_MAX)
                .is_ok_and(|bytes| json::first_character(&String::from_utf8_lossy(&bytes)) == Some('{'))
}

/// Reads a file of this kind, and what it means to pingu.
///
/// # Errors
/// When it cannot be read, or is wrong.
pub fn load_file(
    path: &Path,
    kind: Option<Kind>,
    network: Option<&Path>,
) -> Result<Imported, ImportError> {
    let text = read(path)?;
    let beside = path.with_file_name("network");
    let network = match network {
        Some(path) => Some(read(path)?),
        // What lies beside it in /etc/config need not be there.
        None if path.file_name().is_some_and(|name| name == "mwan3") => read(&beside).ok(),
        None => None,
    };
    let file = path.display().to_string();
    let original = Original {
        file: &file,
        text: &text,
        network: network.as_deref(),
    };
    Ok(import(original, kind)?)
}

/// What `-` stands for.
fn read_standard_input() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = FILE_BYTES_MAX as u64 + 1;
    io::stdin().lock().take(most).read_to_end(&mut bytes)?;
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("it is longer than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(bytes)
}

fn read(path: &Path) -> Result<String, ImportError> {
    let bytes = if path == Path::new("-") {
        read_standard_input()
    } else {
        read_at_most(path, FILE_BYTES_MAX)
    };
    let bytes = bytes.map_err(|source| ImportError::Read {
        path: path.to_owned(),
        source,
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let mut findings = Findings::default();
        findings.error(line, "this is not UTF-8");
        ImportError::Refused(Refusal {
            file: path.display().to_string(),
            list: findings.into_list(),
        })
    })
}
