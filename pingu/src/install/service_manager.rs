//! The service manager is told about the unit. Only systemd on the machine itself is; below another root nobody runs anything.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use super::{Deed, InstallError};

/// There where systemd runs (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";

const UNIT: &str = "pingu.service";

/// What is to become of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing but that its unit is known.
    Known,
    /// It is started at boot.
    Enabled,
    /// It is started at boot, and now; where something was written, it is started anew.
    Running,
}

/// Whether the service manager runs, and what is below the root is its own.
pub fn is_there(root: &Path) -> bool {
    root == Path::new("/") && Path::new(BOOTED).is_dir()
}

/// What the service manager is asked for after these deeds.
pub fn after_install(deeds: &[Deed], wish: Wish) -> Vec<Vec<&'static str>> {
    let wrote = |name: &str| {
        deeds
            .iter()
            .any(|deed| matches!(deed, Deed::Wrote(path) if path.ends_with(name)))
    };
    let mut steps = Vec::new();
    if wrote(UNIT) {
        steps.push(vec!["daemon-reload"]);
    }
    match wish {
        Wish::Known => {}
        Wish::Enabled => steps.push(vec!["enable", UNIT]),
        Wish::Running => {
            steps.push(vec!["enable", UNIT]);
            let is_new = wrote(UNIT) || wrote("usr/bin/pingu") || wrote("pingu.toml");
            steps.push(vec![if is_new { "restart" } else { "start" }, UNIT]);
        }
    }
    steps
}

/// What the service manager is asked for before the unit goes.
pub fn before_uninstall() -> Vec<Vec<&'static str>> {
    vec![vec!["disable", "--now", UNIT]]
}

/// What the service manager is asked for once the unit has gone.
pub fn after_uninstall() -> Vec<Vec<&'static str>> {
    vec![vec!["daemon-reload"]]
}

/// Asks for each, in this order.
///
/// # Errors
/// When one of them is not done; those after it are not asked for then.
pub fn ask(steps: &[Vec<&'static str>]) -> Result<(), InstallError> {
    for step in steps {
        let failed = |why: String| InstallError::ServiceManager {
            command: format!("systemctl {}", step.join(" ")),
            why,
        };
        let status = Command::new("systemctl")
            .args(step)
            .stdin(Stdio::null())
            .status()
            .map_err(|error| failed(error.to_string()))?;
        if !status.success() {
            return Err(failed(status.to_string()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTORY: &str = "/etc/systemd/system";

    fn wrote(file: &str) -> Deed {
        Deed::Wrote(file.into())
    }

    #[test]
    fn nothing_is_enabled_or_started_unless_that_is_wished() {
        let all = [
            wrote(&format!("{DIRECTORY}/{UNIT}")),
            wrote("/usr/bin/pingu"),
        ];
        assert_eq!(after_install(&all, Wish::Known), [["daemon-reload"]]);
        assert_eq!(
            after_install(&all, Wish::Enabled),
            [vec!["daemon-reload"], vec!["enable", UNIT]]
        );
        assert_eq!(
            after_install(&all, Wish::Running),
            [
                vec!["daemon-reload"],
                vec!["enable", UNIT],
                vec!["restart", UNIT]
            ]
        );
    }

    #[test]
    fn what_runs_and_is_as_it_should_be_is_not_disturbed() {
        let unchanged = [Deed::Unchanged("/usr/bin/pingu".into())];
        assert!(after_install(&unchanged, Wish::Known).is_empty());
        assert_eq!(
            after_install(&unchanged, Wish::Running),
            [["enable", UNIT], ["start", UNIT]]
        );
    }

    #[test]
    fn below_another_root_nobody_is_asked() {
        assert!(!is_there(Path::new("/tmp")));
    }
}
