//! The demonstration: a [`scene`] of namespaces in which a [`story`] is played, watched by a [`record`] and shown on a
//! [`screen`] or as lines.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Context, Result, bail};

mod event;
mod interrupt;
mod play;
mod record;
mod requirements;
mod scene;
mod screen;
mod story;
mod timeline;

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// JSON alone on standard output.
    pub json: bool,
    /// Another configuration than the source tree's.
    pub config: Option<PathBuf>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It failed over and back.
    Shown,
    /// It did not; what was missing has been told.
    Failed,
}

/// Shows it all.
pub fn run(options: &Options) -> Result<Outcome> {
    requirements::check()?;
    let config = match &options.config {
        Some(path) => path.clone(),
        None => own_config()?,
    };
    if !config.is_file() {
        bail!("there is no configuration {}", config.display());
    }
    interrupt::watch();
    let mut out = io::stdout().lock();
    let summary = if options.json {
        play::play(&config, &mut play::Json(&mut out))
    } else if screen::is_possible() {
        play::play(&config, &mut screen::Screen::open(&mut out)?)
    } else {
        play::play(&config, &mut play::Lines(&mut out))
    }?;
    if options.json {
        let line = serde_json::to_string(&summary).context("a summary is plain data")?;
        writeln!(out, "{line}")?;
    } else {
        write!(out, "{summary}")?;
    }
    Ok(if summary.ok {
        Outcome::Shown
    } else {
        Outcome::Failed
    })
}

/// The configuration that lies in the source tree around this program or around the current directory.
fn own_config() -> Result<PathBuf> {
    let program = std::env::current_exe().context("a program knows its path")?;
    let here = std::env::current_dir().context("there is no current directory")?;
    let candidates = program
        .ancestors()
        .chain(here.ancestors())
        .map(|place| place.join("config/pingu.toml"));
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .context("there is no config/pingu.toml here; name one by --config")
}
