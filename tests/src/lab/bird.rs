//! A real BIRD: the routing protocol that passes a router's routes on to its neighbours.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::lab::{
    namespace::Namespace,
    process::Process,
    wait::{try_wait_until, wait_until},
};

/// It opens its control socket within milliseconds.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// Neighbours that miss each other's first attempt try again after a second.
const SESSION_DEADLINE: Duration = Duration::from_secs(30);

/// A running BIRD.
pub struct Bird {
    process: Process,
    directory: TempDir,
}

impl Bird {
    /// Starts it with a configuration of protocols and filters, and returns once it can be asked.
    #[track_caller]
    pub fn start(namespace: &Namespace, configuration: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let file = directory.path().join("bird.conf");
        fs::write(&file, configuration).expect("a temporary file can be written");
        let mut command = namespace.command("bird");
        command.arg("-f").arg("-c").arg(&file);
        command.arg("-s").arg(socket(directory.path()));
        command.arg("-P").arg(directory.path().join("bird.pid"));
        let bird = Self {
            process: Process::spawn("bird", command),
            directory,
        };
        wait_until("bird to answer", START_DEADLINE, || {
            bird.ask("show status").map_err(|why| bird.told(&why))
        });
        bird
    }

    /// What it answers to a command of its control socket.
    pub fn ask(&self, question: &str) -> Result<String, String> {
        let output = Command::new("birdc")
            .arg("-s")
            .arg(socket(self.directory.path()))
            .args(question.split_whitespace())
            .output()
            .map_err(|error| format!("cannot run birdc: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(text)
        } else {
            Err(text + &String::from_utf8_lossy(&output.stderr))
        }
    }

    /// Every route that it knows to a prefix, with all their attributes; none where the answer says that there is none.
    pub fn routes_to(&self, prefix: &str) -> Option<String> {
        let answer = self.ask(&format!("show route for {prefix} all")).ok()?;
        answer.contains(prefix).then_some(answer)
    }

    /// Waits until a protocol's session stands.
    #[track_caller]
    pub fn wait_for_session(&self, protocol: &str) {
        wait_until(
            &format!("the session of {protocol}"),
            SESSION_DEADLINE,
            || {
                let answer = self.ask(&format!("show protocols {protocol}"))?;
                if answer.contains("Established") {
                    Ok(())
                } else {
                    Err(self.told(&answer))
                }
            },
        );
    }

    /// Waits until its route to a prefix has this among its attributes.
    #[track_caller]
    pub fn wait_for_route(&self, prefix: &str, attribute: &str, deadline: Duration) {
        wait_until(
            &format!("the route to {prefix} with {attribute}"),
            deadline,
            || match self.routes_to(prefix) {
                Some(routes) if routes.contains(attribute) => Ok(()),
                other => Err(self.told(&format!("{other:?}"))),
            },
        );
    }

    /// Waits until it knows no route to a prefix.
    #[track_caller]
    pub fn wait_until_withdrawn(&self, prefix: &str, deadline: Duration) {
        let seen = try_wait_until(deadline, || match self.routes_to(prefix) {
            None => Ok(()),
            Some(routes) => Err(routes),
        });
        if let Err(routes) = seen {
            panic!("{prefix} is still announced after {deadline:?}: {routes}");
        }
    }

    fn told(&self, what: &str) -> String {
        format!("{what}\n{}", self.process.log())
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("bird.ctl")
}
