//! A command that can be printed exactly as it is run.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::{self, Display, Formatter},
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output, Stdio},
};

use anyhow::{Context, Result, bail};

/// Where a system keeps tools that a user's `PATH` often leaves out.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A command, its environment and its directory.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, Option<OsString>)>,
    directory: Option<PathBuf>,
    as_root: bool,
    chatter_to_stderr: bool,
}

impl Invocation {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: None,
            as_root: false,
            chatter_to_stderr: false,
        }
    }

    pub(crate) fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn arguments<A: AsRef<OsStr>>(
        mut self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        self.arguments.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.into(), Some(value.as_ref().to_owned())));
        self
    }

    pub(crate) fn without_variable(mut self, name: &str) -> Self {
        self.environment.push((name.into(), None));
        self
    }

    pub(crate) fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// Runs it as root: as it is if we are root, else through sudo.
    pub(crate) fn privileged(mut self) -> Self {
        self.as_root = true;
        self
    }

    /// Keeps our standard output for something else.
    pub(crate) fn chatter_to_stderr(mut self) -> Self {
        self.chatter_to_stderr = true;
        self
    }

    /// Whether it may be run here at all.
    pub(crate) fn is_permitted(&self) -> bool {
        !self.as_root || is_root() || find_program("sudo").is_some()
    }

    /// Runs it to its end; any status but success is an error.
    pub(crate) fn run(&self) -> Result<()> {
        let mut command = self.command()?;
        if self.chatter_to_stderr {
            command.stdout(std::io::stderr());
        }
        let status = command
            .status()
            .with_context(|| format!("cannot start `{}`", self.program.display()))?;
        if !status.success() {
            bail!("`{}` failed ({status})", self.program.display());
        }
        Ok(())
    }

    /// Runs it to its end and passes on how it ended.
    pub(crate) fn exit_code(&self) -> Result<ExitCode> {
        let status = self
            .command()?
            .status()
            .with_context(|| format!("cannot start `{}`", self.program.display()))?;
        // As a shell tells of a signal.
        let code = status.code().or_else(|| Some(128 + status.signal()?));
        Ok(code
            .and_then(|code| u8::try_from(code).ok())
            .map_or(ExitCode::FAILURE, ExitCode::from))
    }

    /// Runs it to its end and shows each line of its standard output to `see`; gives whether it succeeded.
    pub(crate) fn run_seen(&self, mut see: impl FnMut(&str)) -> Result<bool> {
        let cannot_start = || format!("cannot start `{}`", self.program.display());
        let mut child = self
            .command()?
            .stdout(Stdio::piped())
            .spawn()
            .with_context(cannot_start)?;
        let output = child.stdout.take().expect("it was asked to be piped");
        for line in BufReader::new(output).split(b'\n') {
            let line =
                line.with_context(|| format!("cannot read from `{}`", self.program.display()))?;
            see(&String::from_utf8_lossy(&line));
        }
        Ok(child.wait().with_context(cannot_start)?.success())
    }

    /// Runs it and gives what it wrote, whatever its status.
    pub(crate) fn output(&self) -> Result<Output> {
        self.command()?
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start `{}`", self.program.display()))
    }

    /// What it wrote to standard output, if it succeeded.
    pub(crate) fn text(&self) -> Option<String> {
        let output = self
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The command as the standard library has it.
    pub(crate) fn command(&self) -> Result<Command> {
        if !self.is_permitted() {
            bail!("this needs root, and there is no sudo; as root, run:\n  {self}");
        }
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        Ok(command)
    }

    /// sudo drops the environment, so what was asked for is handed on by `env`.
    fn words(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        if self.as_root && !is_root() && find_program("sudo").is_some() {
            words.push("sudo".into());
            let mut assignments = self.assignments().peekable();
            if assignments.peek().is_some() {
                words.push("env".into());
                words.extend(assignments);
            }
        }
        words.push(self.program.clone());
        words.extend(self.arguments.iter().cloned());
        words
    }

    fn assignments(&self) -> impl Iterator<Item = OsString> {
        self.environment.iter().filter_map(|(name, value)| {
            let mut assignment = name.clone();
            assignment.push("=");
            assignment.push(value.as_ref()?);
            Some(assignment)
        })
    }
}

/// As a shell would take it.
impl Display for Invocation {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let mut words = self.words();
        if words.first().is_none_or(|word| word != "sudo") {
            words.splice(0..0, self.assignments());
        }
        let line = words
            .iter()
            .map(|word| quoted_word(word))
            .collect::<Vec<_>>()
            .join(" ");
        match &self.directory {
            Some(directory) => write!(
                formatter,
                "(cd {} && {line})",
                quoted(directory.as_os_str())
            ),
            None => write!(formatter, "{line}"),
        }
    }
}

/// Fails, before anything is built for it, where a verb could not run what it builds.
pub(crate) fn require_root(verb: &str) -> Result<()> {
    if is_root() || find_program("sudo").is_some() {
        return Ok(());
    }
    bail!("this needs root, and there is no sudo; as root, run:\n  cargo xtask {verb}");
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    // The owner of our own entry in /proc is our effective user.
    fs::metadata("/proc/self")
        .is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

/// The first program of this name in `PATH` and in the directories of system tools.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(SYSTEM_DIRECTORIES.iter().map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| {
            fs::metadata(file)
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        })
}

/// An assignment is one only as long as its name is not quoted.
fn quoted_word(word: &OsStr) -> String {
    match word.to_string_lossy().split_once('=') {
        Some((name, value)) if !value.is_empty() => {
            format!("{}={}", quoted(name.as_ref()), quoted(value.as_ref()))
        }
        _ => quoted(word),
    }
}

fn quoted(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let plain =
        |character: char| character.is_ascii_alphanumeric() || "-_./:,+@%~".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_printed_as_a_shell_takes_it() {
        let invocation = Invocation::new("cargo")
            .arguments(["install", "a b", "it's"])
            .variable("LLVM_PREFIX", "/x y")
            .directory("/tmp");
        assert_eq!(
            invocation.to_string(),
            r"(cd /tmp && LLVM_PREFIX='/x y' cargo install 'a b' 'it'\''s')"
        );
    }

    #[test]
    fn a_program_is_found_by_name_and_a_missing_one_is_not() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-program-has-this-name").is_none());
    }
}
