//! `pingu check` of a script: it is loaded, and nothing is probed.

use std::{fmt::Write, path::Path};

use super::{LoadError, api, load};

/// What a script asks for, as Lua.
///
/// # Errors
/// What keeps it from being run.
pub fn check(path: &Path) -> Result<String, LoadError> {
    let (_, variables, shared) = load(path)?;
    let mut text = String::new();
    let seconds = [
        ("ping_frequency", variables.ping_frequency),
        ("update_frequency", variables.update_frequency),
        ("num_seconds", variables.num_seconds),
    ];
    for (name, duration) in seconds {
        line(
            &mut text,
            format_args!("{name} = {}", duration.as_secs_f64()),
        );
    }
    line(
        &mut text,
        format_args!("privileged = {}", variables.privileged),
    );
    line(&mut text, format_args!("probes = {{"));
    let started = shared.store(|store, _| store.keys().cloned().collect::<Vec<_>>());
    for key in started.iter().chain(&variables.probes) {
        line(&mut text, format_args!("    {},", api::constructor(key)));
    }
    line(&mut text, format_args!("}}"));
    Ok(text)
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes everything");
}
