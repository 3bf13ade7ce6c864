//! Where things are.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The directories of this checkout.
pub(crate) struct Workspace {
    /// The checkout itself.
    pub(crate) root: PathBuf,
    /// cargo's target directory, absolute.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// The checkout that this program was built in.
    pub(crate) fn find() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("xtask is a directory of the workspace")
            .to_owned();
        // pingu's build script finds the object by the same rule.
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(directory) => root.join(directory),
            None => root.join("target"),
        };
        Self { root, target }
    }

    /// What `setup` fetches and builds for this checkout alone.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// A binary as users get it.
    pub(crate) fn release_binary(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// The object that pingu embeds.
    pub(crate) fn ebpf_object(&self) -> PathBuf {
        self.target.join("ebpf/pingu-ebpf")
    }
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}
