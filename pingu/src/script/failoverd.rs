//! failoverd's scripts: Lua that says what is probed and hears what became of it. Probing, and the script, each have a thread of their own.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use thiserror::Error;

use self::{machine::Machine, shared::Shared, variables::Variables};

mod address;
mod agenda;
mod api;
mod check;
mod dns;
mod machine;
mod method;
mod programs;
mod results;
mod run;
mod shared;
mod store;
mod variables;
mod words;

pub use check::check;
pub use run::run;

/// A script cannot be run.
#[derive(Debug, Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no Lua, ended with an error, or says what makes no sense.
    #[error("{}", tell(path, problems))]
    Wrong {
        /// Its file.
        path: PathBuf,
        /// All that is wrong.
        problems: Vec<String>,
    },
}

/// Whether a configuration is a script of failoverd's: it is called `*.lua`.
pub fn is_script(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "lua")
}

fn load(path: &Path) -> Result<(Machine, Variables, Arc<Shared>), LoadError> {
    let text = fs::read(path).map_err(|source| LoadError::Read {
        path: path.to_owned(),
        source,
    })?;
    let shared = Arc::new(Shared::new(Duration::ZERO));
    match Machine::load(path, &text, &shared) {
        Ok((machine, variables)) => Ok((machine, variables, shared)),
        Err(problems) => Err(LoadError::Wrong {
            path: path.to_owned(),
            problems,
        }),
    }
}

/// Each problem behind the file's name; Lua's own name it already.
fn tell(path: &Path, problems: &[String]) -> String {
    let name = path.display().to_string();
    let line = |problem: &String| {
        if problem.contains(&name) {
            problem.clone()
        } else {
            format!("{name}: {problem}")
        }
    };
    let lines: Vec<String> = problems.iter().map(line).collect();
    lines.join("\npingu: ")
}

#[cfg(test)]
mod tests;
