//! The verb: reads a file, writes the result, and tells what became of it.

use std::{
    ffi::CString,
    fs,
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::{ImportError, Kind, load_file};
use crate::{config::Config, log::say};

/// What `pingu import` was told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The configuration of another system; `-` for standard input.
    pub file: PathBuf,
    /// What it is; without this, that is told by its content.
    #[arg(long, value_enum)]
    pub from: Option<Kind>,
    /// Writes the result here instead of to standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replaces the file that is there.
    #[arg(long, requires = "output")]
    pub force: bool,
    /// For mwan3: the file that says which devices its interfaces are (without this, `network` beside it).
    #[arg(long, value_name = "FILE")]
    pub network: Option<PathBuf>,
}

/// Imports a file. What there is to say about it goes to standard error.
///
/// # Errors
/// [`ImportError`] where the file is wrong; anything else where the result cannot be written.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let imported = load_file(&options.file, options.from, options.network.as_deref())?;
    let file = options.file.display().to_string();
    for note in &imported.notes {
        say(note.in_file(&file));
    }
    let output = options.output.as_ref();
    match output.filter(|path| *path != Path::new("-")) {
        None => match io::stdout().write_all(imported.toml.as_bytes()) {
            // A reader that has gone (`pingu import FILE | head`) is no error.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        },
        Some(output) => {
            write(
                output,
                &options.file,
                imported.toml.as_bytes(),
                options.force,
            )?;
            say(format_args!(
                "wrote {}, from {}",
                output.display(),
                imported.kind.title()
            ));
            Ok(())
        }
    }
}

/// A py-pingu file as a configuration for the daemon. What there is to say about it goes to standard error.
///
/// # Errors
/// [`ImportError`].
pub fn load_py_pingu(path: &Path) -> anyhow::Result<Config> {
    let imported = load_file(path, Some(Kind::PyPingu), None)?;
    let file = path.display().to_string();
    for note in &imported.notes {
        say(note.in_file(&file));
    }
    Ok(imported.config)
}

/// Writes the result: whoever reads the file sees all of it or what was there before.
fn write(output: &Path, original: &Path, text: &[u8], force: bool) -> anyhow::Result<()> {
    let shown = output.display();
    if let Ok(found) = fs::symlink_metadata(output) {
        if !force {
            bail!("{shown} is there already, and is not replaced without --force");
        }
        if !found.is_file() {
            bail!("{shown} is no regular file, and is not replaced");
        }
        let same = |other: fs::Metadata| (other.dev(), other.ino()) == (found.dev(), found.ino());
        if fs::metadata(original).is_ok_and(same) {
            bail!("{shown} is the original, and is not replaced");
        }
    }
    let mut fresh = output.as_os_str().to_owned();
    fresh.push(format!(".{}.new", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let written = write_fresh(&fresh, text).and_then(|()| {
        if force {
            fs::rename(&fresh, output)
        } else {
            rename_to_nothing(&fresh, output)
        }
    });
    if written.is_err() {
        // It may be half there, or not at all.
        let _ = fs::remove_file(&fresh);
    }
    written.with_context(|| format!("{shown} cannot be written"))
}

fn write_fresh(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    file.write_all(text)?;
    file.sync_all()
}

/// Renames where nobody else has the name yet.
fn rename_to_nothing(from: &Path, to: &Path) -> io::Result<()> {
    let name = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other);
    let (old, new) = (name(from)?, name(to)?);
    // SAFETY: both names are C strings that outlive the call.
    let renamed = unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            old.as_ptr(),
            libc::AT_FDCWD,
            new.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    if renamed == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // Some file systems cannot; that nothing was there was just looked at.
        Some(libc::EINVAL | libc::ENOSYS) => fs::rename(from, to),
        _ => Err(error),
    }
}

/// Whether an error of [`run`] is about the file that was to be imported.
pub fn is_about_the_file(error: &anyhow::Error) -> bool {
    error.is::<ImportError>()
}
