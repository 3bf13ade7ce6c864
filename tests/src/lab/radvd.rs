//! A real router advertisement daemon at a provider's end of the router's wire.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use tempfile::TempDir;

use crate::lab::{
    process::Process,
    provider::{Provider, ROUTER_SIDE},
};

/// It says farewell and ends within milliseconds.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// A running radvd. Dropped, it is killed, and what it advertised lives on; [`Radvd::stop`] takes it back.
pub struct Radvd {
    process: Process,
    directory: TempDir,
}

impl Radvd {
    /// Starts it; the provider's link-local address is a default gateway for this long after each advertisement.
    #[track_caller]
    pub fn start(provider: &Provider, lifetime_s: u16) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        configure(directory.path(), lifetime_s);
        let mut command = provider.namespace.command("radvd");
        command.args(["--nodaemon", "--logmethod", "stderr", "--debug", "1"]);
        command
            .arg("--config")
            .arg(directory.path().join("radvd.conf"));
        command
            .arg("--pidfile")
            .arg(directory.path().join("radvd.pid"));
        Self {
            process: Process::spawn("radvd", command),
            directory,
        }
    }

    /// Advertises another lifetime from now on; 0 s means that the gateway is none.
    #[track_caller]
    pub fn set_lifetime(&self, lifetime_s: u16) {
        configure(self.directory.path(), lifetime_s);
        self.process.signal(libc::SIGHUP);
    }

    /// Ends it as its service would, with a last advertisement of lifetime 0 s.
    #[track_caller]
    pub fn stop(mut self) {
        self.process.signal(libc::SIGTERM);
        self.process.wait(STOP_DEADLINE);
    }
}

/// It refuses a configuration that others could have written.
fn configure(directory: &Path, lifetime_s: u16) {
    let file = directory.join("radvd.conf");
    let text = format!(
        "interface {ROUTER_SIDE} {{\nAdvSendAdvert on;\nMinRtrAdvInterval 3;\nMaxRtrAdvInterval 4;\n\
         AdvDefaultLifetime {lifetime_s};\n}};\n"
    );
    fs::write(&file, text).expect("a temporary file can be written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("the file is ours");
}
