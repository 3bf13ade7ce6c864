//! A kernel as its distribution serves it, and the file system that it begins with. Nothing is installed: all is below cargo's target
//! directory.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::invocation::{Invocation, find_program};

/// What it takes to see the host's files, and to write over them in memory.
const MODULES: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];

const INIT: &str = include_str!("init.sh");

/// A kernel that can be booted.
pub(super) struct Image {
    /// As `uname -r` tells it.
    pub(super) release: String,
    pub(super) kernel: PathBuf,
    /// The directory that holds the modules of the release.
    pub(super) modules: PathBuf,
    files: PathBuf,
}

impl Image {
    /// That which a package of no content depends on: the newest of its series.
    pub(super) fn fetch(directory: &Path, newest: &str) -> Result<Self> {
        let package = dependency(newest)?;
        let release = package.trim_start_matches("linux-image-").to_owned();
        let files = directory.join(&release);
        let image = Self {
            kernel: files.join("boot").join(format!("vmlinuz-{release}")),
            modules: files.join("lib/modules"),
            release,
            files,
        };
        // What depmod writes, after all else.
        if image.of_release("modules.softdep").exists() {
            return Ok(image);
        }
        fs::create_dir_all(directory)?;
        let download = format!("apt-get download {package} && dpkg-deb -x {package}_*.deb");
        shell(directory, &format!("{download} {}", image.release))?;
        shell(directory, &format!("rm {package}_*.deb"))?;
        Invocation::new("depmod")
            .arguments(["-b".as_ref(), image.files.as_os_str()])
            .argument(&image.release)
            .run()?;
        Ok(image)
    }

    /// The file system that the kernel begins with, which goes on with the script.
    pub(super) fn initial_files(&self, guest: &Path) -> Result<PathBuf> {
        let root = self.files.join("initial");
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        for directory in ["modules", "lower", "upper", "new"] {
            fs::create_dir_all(root.join(directory))?;
        }
        let busybox = find_program("busybox").context("busybox is gone")?;
        for library in libraries(&busybox)? {
            copy_into(&root, &library, &library)?;
        }
        copy_into(&root, &busybox, Path::new("/bin/busybox"))?;
        copy_into(&root, &busybox, Path::new("/bin/sh"))?;
        for (number, module) in self.module_files()?.iter().enumerate() {
            let name = module.file_name().context("a module has a name")?;
            // The numbers keep the order, in which each finds what it needs.
            let to = format!("modules/{:02}-{}", number, name.to_string_lossy());
            fs::copy(module, root.join(&to))?;
            if to.ends_with(".xz") {
                Invocation::new("xz")
                    .arguments(["-d", &to])
                    .directory(&root)
                    .run()?;
            }
        }
        let init = root.join("init");
        fs::write(&init, INIT.replace("$GUEST", &guest.to_string_lossy()))?;
        fs::set_permissions(&init, Permissions::from_mode(0o755))?;
        shell(&root, "find . | cpio --quiet -o -H newc > ../initial.cpio")?;
        Ok(self.files.join("initial.cpio"))
    }

    fn of_release(&self, name: &str) -> PathBuf {
        self.modules.join(&self.release).join(name)
    }

    /// In the order in which they are to be loaded.
    fn module_files(&self) -> Result<Vec<PathBuf>> {
        let lines = Invocation::new("modprobe")
            .arguments(["-S", &self.release, "-d"])
            .argument(&self.files)
            .arguments(["--show-depends", "-a"])
            .arguments(MODULES)
            .text()
            .context("modprobe does not find the modules")?;
        let mut files: Vec<PathBuf> = Vec::new();
        for line in lines.lines() {
            let Some(file) = line.strip_prefix("insmod ") else {
                continue; // Built into the kernel.
            };
            let file = PathBuf::from(file.trim());
            if !files.contains(&file) {
                files.push(file);
            }
        }
        Ok(files)
    }
}

fn dependency(package: &str) -> Result<String> {
    let lines = Invocation::new("apt-cache")
        .arguments(["depends", package])
        .text();
    lines
        .iter()
        .flat_map(|lines| lines.lines())
        .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"))
        .map(|release| format!("linux-image-{release}"))
        .with_context(|| format!("Debian's package lists have no {package} here"))
}

fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let lines = Invocation::new("ldd").argument(program).text();
    // Statically linked, it has none.
    let words = lines.iter().flat_map(|lines| lines.split_whitespace());
    Ok(words
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect())
}

fn copy_into(root: &Path, from: &Path, to: &Path) -> Result<()> {
    let to = root.join(to.strip_prefix("/")?);
    let directory = to.parent().context("a file is in a directory")?;
    fs::create_dir_all(directory)?;
    fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

fn shell(directory: &Path, line: &str) -> Result<()> {
    Invocation::new("sh")
        .arguments(["-c", line])
        .directory(directory)
        .run()
}
