//! Installing a whole service below directories of the tests' own.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

mod refusals;

const PROGRAM: &str = "usr/bin/pingu";
const CONFIG: &str = "etc/pingu/pingu.toml";
const UNIT: &str = "etc/systemd/system/pingu.service";
const PROTOCOLS: &str = "etc/iproute2/rt_protos.d/pingu.conf";
const TABLES: &str = "etc/iproute2/rt_tables.d/pingu.conf";
const MANIFEST: &str = "var/lib/pingu/installed.json";

const GOOD: &str = "protocol = 137\n[probe]\ntargets = [\"192.0.2.1\"]\n[[uplink]]\nname = \"fibre\"\ninterface = \"wan0\"\ntable = 201\n";

/// A root, and a program to be installed below it.
struct World {
    root: tempfile::TempDir,
    elsewhere: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self {
            root: tempfile::tempdir().unwrap(),
            elsewhere: tempfile::tempdir().unwrap(),
        };
        world.build("one");
        world
    }

    fn root(&self) -> &Path {
        self.root.path()
    }

    fn build(&self, program: &str) {
        fs::write(self.program(), program).unwrap();
    }

    fn program(&self) -> PathBuf {
        self.elsewhere.path().join("built")
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.root().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root().join(file)).unwrap()
    }

    fn has(&self, file: &str) -> bool {
        self.root().join(file).symlink_metadata().is_ok()
    }

    fn try_install(&self, config: Option<&str>) -> Result<Vec<Deed>, InstallError> {
        let parsed = config.map(|text| (text, Config::parse(text, "test").unwrap().0));
        install(&Request {
            root: self.root(),
            program: &self.program(),
            config: parsed.as_ref().map(|(text, config)| (*text, config)),
            starts: false,
        })
    }

    #[track_caller]
    fn install(&self, config: Option<&str>) -> Vec<String> {
        self.lines(&self.try_install(config).unwrap())
    }

    #[track_caller]
    fn uninstall(&self) -> Vec<String> {
        self.lines(&uninstall(self.root()).unwrap())
    }

    fn lines(&self, deeds: &[Deed]) -> Vec<String> {
        let root = format!("{}/", self.root().display());
        let lines = deeds
            .iter()
            .map(|deed| deed.to_string().replace(&root, "/"));
        lines.collect()
    }

    #[track_caller]
    fn refusals(&self, config: Option<&str>) -> Vec<String> {
        let before = self.tree();
        let refusals = match self.try_install(config) {
            Err(InstallError::Refused(refusals)) => refusals,
            other => panic!("{other:?}"),
        };
        assert_eq!(self.tree(), before, "nothing is written");
        let root = format!("{}/", self.root().display());
        refusals.iter().map(|r| r.replace(&root, "/")).collect()
    }

    /// Everything with its mode and content.
    fn tree(&self) -> Vec<(PathBuf, u32, String)> {
        let mut tree = Vec::new();
        let mut left = vec![self.root().to_owned()];
        while let Some(path) = left.pop() {
            let found = path.symlink_metadata().unwrap();
            let mode = found.permissions().mode();
            if found.is_dir() {
                left.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
                tree.push((path, mode, String::new()));
            } else if found.is_symlink() {
                let to = fs::read_link(&path).unwrap().display().to_string();
                tree.push((path, mode, to));
            } else {
                let text = fs::read_to_string(&path).unwrap();
                tree.push((path, mode, text));
            }
        }
        tree.sort();
        tree
    }
}

#[test]
fn everything_is_installed_once_and_uninstalled_without_a_trace() {
    let world = World::new();
    let empty = world.tree();
    assert_eq!(
        world.install(Some(GOOD)),
        [CONFIG, PROGRAM, UNIT, PROTOCOLS, TABLES].map(|file| format!("wrote /{file}"))
    );
    assert_eq!(world.read(CONFIG), GOOD);
    assert_eq!(world.read(PROGRAM), "one");
    let mode = |file: &str| {
        world
            .root()
            .join(file)
            .metadata()
            .unwrap()
            .permissions()
            .mode()
    };
    assert_eq!(mode(PROGRAM) & 0o7777, 0o755);
    assert_eq!(mode(CONFIG) & 0o7777, 0o644);
    assert_eq!(mode("etc/systemd") & 0o7777, 0o755);
    assert!(world.read(UNIT).starts_with(MARK));
    assert!(world.read(PROTOCOLS).ends_with("\n137\tpingu\n"));
    assert!(world.read(TABLES).ends_with("\n201\tfibre\n"));
    let before = world.tree();
    for config in [Some(GOOD), None] {
        let again = world.install(config);
        assert!(
            again.iter().all(|l| l.starts_with("unchanged: ")),
            "{again:?}"
        );
        assert_eq!(again.len(), 5);
        assert_eq!(world.tree(), before);
    }
    let removed = world.uninstall();
    assert!(
        removed.iter().all(|line| line.starts_with("removed ")),
        "{removed:?}"
    );
    assert_eq!(world.tree(), empty);
    assert!(world.uninstall().is_empty());
}

#[test]
fn without_a_configuration_there_is_one_that_has_to_be_edited() {
    let world = World::new();
    let empty = world.tree();
    world.install(None);
    assert_eq!(world.read(CONFIG), MINIMAL);
    assert!(world.read(PROTOCOLS).ends_with("\n136\tpingu\n"));
    assert!(!world.has(TABLES), "no uplink has a table");
    assert!(pieces::needs_editing(world.root()).is_some());
    let problems = Config::parse(MINIMAL, "f").unwrap_err();
    assert_eq!(problems.list.len(), 1, "{problems}");
    assert!(problems.to_string().contains("at least one [[uplink]]"));
    // What it shows commented out is right.
    let shown = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if rest.starts_with("[[") || rest.contains(" = ") => rest.to_owned(),
        _ => line.to_owned(),
    };
    let text: Vec<String> = MINIMAL.lines().map(shown).collect();
    let (config, warnings) = Config::parse(&text.join("\n"), "f").unwrap();
    assert_eq!((config.uplinks.len(), warnings.len()), (2, 0));
    world.install(None);
    world.uninstall();
    assert_eq!(world.tree(), empty);
}

#[test]
fn a_configuration_that_was_only_begun_gives_way_to_a_real_one() {
    let world = World::new();
    let empty = world.tree();
    world.install(None);
    let done = world.install(Some(GOOD));
    assert_eq!(done[0], format!("wrote /{CONFIG}"));
    assert_eq!(world.read(CONFIG), GOOD);
    assert!(world.read(TABLES).ends_with("\n201\tfibre\n"));
    world.uninstall();
    assert_eq!(world.tree(), empty);
}

#[test]
fn a_changed_configuration_is_never_overwritten_and_is_all_that_stays() {
    let world = World::new();
    world.install(None);
    world.write(CONFIG, GOOD);
    let again = world.install(None);
    assert_eq!(again[0], format!("left alone: /{CONFIG} is there already"));
    assert!(
        world.read(TABLES).ends_with("\n201\tfibre\n"),
        "names follow it"
    );
    let other = GOOD.replace("fibre", "cable");
    world.install(Some(&other));
    assert_eq!(world.read(CONFIG), GOOD);
    assert!(
        world.read(TABLES).ends_with("\n201\tfibre\n"),
        "names are of the configuration that stands"
    );
    let gone = world.uninstall();
    let stays = format!("left alone: /{CONFIG} has been changed since it was written");
    assert!(gone.contains(&stays), "{gone:?}");
    let left: Vec<PathBuf> = world.tree().into_iter().map(|(path, ..)| path).collect();
    let wanted = ["", "etc", "etc/pingu", CONFIG].map(|file| world.root().join(file));
    assert_eq!(left, wanted);
    assert_eq!(world.read(CONFIG), GOOD);
}

#[test]
fn a_new_program_and_a_new_unit_take_the_places_of_the_old_ones() {
    let world = World::new();
    let empty = world.tree();
    world.install(Some(GOOD));
    // As an earlier version would have written it.
    let mut manifest = Manifest::read(world.root()).unwrap();
    let old = format!("{MARK} once\n[Service]\n");
    world.write(UNIT, &old);
    manifest.is(UNIT, old.as_bytes());
    manifest.write(world.root()).unwrap();
    world.build("two, and longer");
    let deeds = world.install(None);
    assert_eq!(
        deeds[..3],
        [
            format!("unchanged: /{CONFIG}"),
            format!("wrote /{PROGRAM}"),
            format!("wrote /{UNIT}")
        ]
    );
    assert_eq!(world.read(PROGRAM), "two, and longer");
    assert!(world.read(UNIT).contains("Type=notify"));
    world.uninstall();
    assert_eq!(world.tree(), empty);
}

#[test]
fn what_runs_left_goes_but_routes_that_were_never_put_back_stay_noted() {
    let world = World::new();
    let empty = world.tree();
    world.install(Some(GOOD));
    world.write("var/lib/pingu/memory-136-main.json", "{}");
    world.write("var/lib/pingu/adopted-136-main.json", "[]");
    symlink("../pingu.service", {
        let wants = world
            .root()
            .join("etc/systemd/system/multi-user.target.wants");
        fs::create_dir_all(&wants).unwrap();
        wants.join("pingu.service")
    })
    .unwrap();
    world.uninstall();
    fs::remove_dir(
        world
            .root()
            .join("etc/systemd/system/multi-user.target.wants"),
    )
    .unwrap();
    for directory in ["etc/systemd/system", "etc/systemd", "etc"] {
        fs::remove_dir(world.root().join(directory)).unwrap();
    }
    assert_eq!(world.tree(), empty);

    world.install(Some(GOOD));
    world.write("var/lib/pingu/adopted-136-main.json", "[{}]");
    world.write("var/lib/pingu/notes", "somebody's");
    let told = world.uninstall();
    assert!(
        told.iter().any(|line| line.contains("adopted-136")),
        "{told:?}"
    );
    assert!(world.has("var/lib/pingu/adopted-136-main.json"));
    assert!(world.has("var/lib/pingu/notes") && !world.has(MANIFEST));
}

#[test]
fn an_install_that_was_interrupted_is_finished_or_undone_by_the_next() {
    let world = World::new();
    let empty = world.tree();
    world.install(Some(GOOD));
    // As after an end between the note and the program.
    let mut manifest = Manifest::read(world.root()).unwrap();
    world.build("two");
    manifest.will_be(PROGRAM, b"two");
    manifest.write(world.root()).unwrap();
    assert_eq!(world.install(None)[1], format!("wrote /{PROGRAM}"));
    manifest.will_be(PROGRAM, b"three");
    manifest.write(world.root()).unwrap();
    world.uninstall();
    assert_eq!(world.tree(), empty);
}
