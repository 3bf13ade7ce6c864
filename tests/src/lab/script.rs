//! A script that decides alone, as failoverd's do: pingu runs it in a namespace, in a directory of its own, and what it writes
//! is kept.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use tempfile::TempDir;

use crate::lab::{
    daemon::{Finished, STOP_DEADLINE, binary},
    namespace::Namespace,
    process::Process,
    wait::wait_until,
};

/// More than anything that a script waits for takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Mounts what is to lie over files of the system, for this process and its children alone, and becomes the program. What it
/// writes goes to the owner's log, its complaints to a file.
const LAUNCHER: &str = r#"
while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 99; shift 2; done
shift
exec "$@" 2>>stderr
"#;

/// A script and what surrounds it.
pub struct Setting {
    directory: TempDir,
    mounts: Vec<(PathBuf, PathBuf)>,
    variables: Vec<(String, String)>,
    is_unprivileged: bool,
    option: String,
}

/// A running script; dropped, it is killed, and what it wrote is printed if a test is failing.
pub struct Script {
    process: Process,
    directory: TempDir,
}

impl Setting {
    /// A script by its text.
    #[track_caller]
    pub fn new(script: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let setting = Self {
            directory,
            mounts: Vec::new(),
            variables: Vec::new(),
            is_unprivileged: false,
            option: "--config".to_owned(),
        };
        setting.file("config.lua", script).file("stderr", "")
    }

    /// A file beside the script.
    #[track_caller]
    pub fn file(self, name: &str, text: &str) -> Self {
        let path = self.directory.path().join(name);
        fs::create_dir_all(path.parent().expect("it is in a directory"))
            .expect("a directory can be made");
        fs::write(path, text).expect("a temporary file can be written");
        self
    }

    /// Puts a file over one of the system, which only the script and its children see.
    #[track_caller]
    pub fn over(mut self, path: &str, text: &str) -> Self {
        let name = format!("over{}", self.mounts.len());
        self.mounts
            .push((self.directory.path().join(&name), path.into()));
        self.file(&name, text)
    }

    /// An environment variable.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs as a user who may nothing, without any capability.
    pub fn unprivileged(mut self) -> Self {
        self.is_unprivileged = true;
        self
    }

    /// Names the script by another option than `--config`.
    pub fn option(mut self, option: &str) -> Self {
        option.clone_into(&mut self.option);
        self
    }

    /// Starts it.
    #[track_caller]
    pub fn start(mut self, namespace: &Namespace) -> Script {
        let mut program = binary();
        if self.is_unprivileged {
            // That user may not be allowed to come near the build directory.
            let place = self.directory.path().join("pingu");
            fs::write(&place, "").expect("a temporary file can be written");
            self.mounts.push((program, place.clone()));
            program = place;
            let everybody = fs::Permissions::from_mode(0o777);
            for path in [self.directory.path(), &self.directory.path().join("stderr")] {
                fs::set_permissions(path, everybody.clone()).expect("it is the test's own");
            }
        }
        let mut command = namespace.command("unshare");
        command.args(["--mount", "sh", "-c", LAUNCHER, "sh"]);
        for (over, path) in &self.mounts {
            command.args([over, path]);
        }
        command.arg("--");
        if self.is_unprivileged {
            command.args([
                "setpriv",
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "--inh-caps=-all",
                "--bounding-set=-all",
                "--no-new-privs",
            ]);
        }
        command
            .arg(program)
            .args([&self.option, "config.lua"])
            .envs(self.variables)
            .env("NO_COLOR", "1")
            .current_dir(self.directory.path());
        Script {
            process: Process::spawn("pingu with a script", command),
            directory: self.directory,
        }
    }

    /// Runs it to its end, which must come by itself.
    #[track_caller]
    pub fn run_to_end(self, namespace: &Namespace) -> Finished {
        let mut script = self.start(namespace);
        let status = script.process.wait(DEADLINE);
        Finished {
            status,
            stdout: script.output(),
            stderr: script.complaints(),
        }
    }
}

impl Script {
    /// What it has written to its standard output.
    pub fn output(&self) -> String {
        self.process.log()
    }

    /// The whole lines of it that begin with a word, without that word.
    pub fn lines(&self, word: &str) -> Vec<String> {
        let output = self.output();
        let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .filter_map(|line| line.strip_prefix(word))
            .map(|rest| rest.trim_start().to_owned())
            .collect()
    }

    /// What went to its standard error.
    pub fn complaints(&self) -> String {
        self.read("stderr")
    }

    /// A file beside the script; empty where there is none.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }

    /// Writes a file beside the script.
    #[track_caller]
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join(name), text).expect("a temporary file can be written");
    }

    /// Where it lives.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until a condition on what it has written holds; panics at the deadline, and when it ends before.
    #[track_caller]
    pub fn wait_for<T>(&mut self, what: &str, condition: impl Fn(&Self) -> Option<T>) -> T {
        wait_until(what, DEADLINE, || {
            if let Some(found) = condition(self) {
                return Ok(found);
            }
            let seen = format!("{}---\n{}", self.output(), self.complaints());
            assert!(self.process.ended().is_none(), "it has ended: {seen}");
            Err(seen)
        })
    }

    /// Waits until it has written this.
    #[track_caller]
    pub fn wait_for_output(&mut self, text: &str) {
        self.wait_for(&format!("{text:?}"), |script| {
            script.output().contains(text).then_some(())
        });
    }

    /// Waits until so many lines begin with a word, and gives all that do, without the word.
    #[track_caller]
    pub fn wait_for_lines(&mut self, word: &str, count: usize) -> Vec<String> {
        self.wait_for(
            &format!("{count} lines that begin with {word:?}"),
            |script| Some(script.lines(word)).filter(|lines| lines.len() >= count),
        )
    }

    /// Waits for a line with this word that comes after those there are, and gives its rest.
    #[track_caller]
    pub fn wait_for_next(&mut self, word: &str) -> String {
        let before = self.lines(word).len();
        self.wait_for_lines(word, before + 1).swap_remove(before)
    }

    /// Asks it to end, and waits for that.
    #[track_caller]
    pub fn stop(&mut self, signal: i32) -> ExitStatus {
        self.process.signal(signal);
        self.process.wait(STOP_DEADLINE)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- standard error ---\n{}", self.complaints());
        }
    }
}

/// A number in a line whose words are parted by tabs, as `print` parts them; counted from 0.
#[track_caller]
pub fn column(line: &str, index: usize) -> f64 {
    let word = line.split('\t').nth(index);
    word.and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no number at {index} in {line:?}"))
}
