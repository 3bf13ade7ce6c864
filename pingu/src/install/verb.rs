//! What the two verbs do in all: files, the service manager, and words about it.

use std::path::Path;

use super::{
    Deed, InstallError, Request, install,
    pieces::{has_own_unit, needs_editing},
    service_manager::{self, Wish},
    uninstall,
};
use crate::config::Config;

/// The program that runs.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Installs everything, and tells what was done and what is left to do.
///
/// # Errors
/// When something is in the way, all of which is told: nothing has been done then. When something cannot be done.
pub fn run_install(
    root: &Path,
    config: Option<(&str, &Config)>,
    wish: Wish,
) -> Result<Vec<String>, InstallError> {
    let deeds = install(&Request {
        root,
        program: Path::new(OWN_PROGRAM),
        config,
        starts: wish != Wish::Known,
    })?;
    let is_live = service_manager::is_there(root);
    if is_live {
        service_manager::ask(&service_manager::after_install(&deeds, wish))?;
    }
    let mut lines = told(&deeds);
    if let Some(path) = needs_editing(root) {
        lines.push(format!("next: edit {}", path.display()));
    }
    if is_live && wish == Wish::Known {
        lines.push("next: systemctl enable --now pingu".to_owned());
    }
    Ok(lines)
}

/// Stops the service and removes everything that was installed, and tells what was done.
///
/// # Errors
/// When something cannot be done. What has been removed stays so, and the rest goes with the next attempt.
pub fn run_uninstall(root: &Path) -> Result<Vec<String>, InstallError> {
    let is_served = service_manager::is_there(root) && has_own_unit(root)?;
    if is_served {
        service_manager::ask(&service_manager::before_uninstall())?;
    }
    let deeds = uninstall(root)?;
    if is_served {
        service_manager::ask(&service_manager::after_uninstall())?;
    }
    Ok(told(&deeds))
}

fn told(deeds: &[Deed]) -> Vec<String> {
    if deeds.is_empty() {
        return vec!["there is nothing to do".to_owned()];
    }
    deeds.iter().map(ToString::to_string).collect()
}
