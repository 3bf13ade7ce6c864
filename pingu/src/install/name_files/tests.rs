//! Installing below directories of the tests' own.

use super::*;

const PROTOCOLS: &str = "etc/iproute2/rt_protos.d/pingu.conf";
const TABLES: &str = "etc/iproute2/rt_tables.d/pingu.conf";

const ONE: &str = "protocol = 137\n[probe]\ntargets = [\"192.0.2.1\"]\n[[uplink]]\nname = \"fibre\"\ninterface = \"wan0\"\n";

fn config(tables: &[(u32, &str)]) -> Config {
    let mut text = ONE.to_owned();
    for (index, (number, name)) in tables.iter().enumerate() {
        text.push_str(&format!(
            "[[uplink]]\nname = \"u{index}\"\ninterface = \"lte{index}\"\ntable = {number}\ntable_name = \"{name}\"\n"
        ));
    }
    Config::parse(&text, "test").unwrap().0
}

fn give(config: &Config, root: &Path) -> Result<Vec<Deed>, InstallError> {
    let refusals = refusals(Some(config), root)?;
    if !refusals.is_empty() {
        return Err(InstallError::Refused(refusals));
    }
    install(Some(config), root)
}

fn take(root: &Path) -> Result<Vec<Deed>, InstallError> {
    let mut made = BTreeSet::new();
    let deeds = uninstall(root, &mut made)?;
    remove_empty(&made);
    Ok(deeds)
}

struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path().join(file)).unwrap()
    }

    /// Every file with its content, every directory.
    fn tree(&self) -> Vec<(PathBuf, Option<String>)> {
        let mut tree = Vec::new();
        let mut left = vec![self.path().to_owned()];
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
                tree.push((path, None));
            } else {
                let text = fs::read_to_string(&path).unwrap();
                tree.push((path, Some(text)));
            }
        }
        tree.sort();
        tree
    }

    fn refusals(&self, config: &Config) -> Vec<String> {
        let before = self.tree();
        let refusals = match give(config, self.path()) {
            Err(InstallError::Refused(refusals)) => refusals,
            other => panic!("{other:?}"),
        };
        assert_eq!(self.tree(), before, "nothing is written");
        let root = format!("{}/", self.path().display());
        refusals.iter().map(|r| r.replace(&root, "/")).collect()
    }
}

#[test]
fn names_are_written_once_and_removed_without_a_trace() {
    let root = Root::new();
    let empty = root.tree();
    let config = config(&[(201, "cable"), (0xffff_fff0, "lte")]);
    let deeds = give(&config, root.path()).unwrap();
    assert!(matches!(&deeds[..], [Deed::Wrote(_), Deed::Wrote(_)]));
    assert!(root.read(PROTOCOLS).ends_with("\n137\tpingu\n"));
    assert!(
        root.read(TABLES)
            .ends_with("\n201\tcable\n4294967280\tlte\n")
    );
    assert!(root.read(TABLES).starts_with(MARK));
    let before = root.tree();
    let deeds = give(&config, root.path()).unwrap();
    assert!(matches!(
        &deeds[..],
        [Deed::Unchanged(_), Deed::Unchanged(_)]
    ));
    assert_eq!(root.tree(), before);
    let deeds = take(root.path()).unwrap();
    assert!(matches!(&deeds[..], [Deed::Removed(_), Deed::Removed(_)]));
    assert_eq!(root.tree(), empty);
    assert_eq!(take(root.path()).unwrap(), []);
}

#[test]
fn directories_that_were_there_stay_and_so_do_those_that_others_use_since() {
    let root = Root::new();
    root.write("etc/iproute2/rt_tables", "254\tmain\n");
    fs::create_dir(root.path().join("etc/iproute2/rt_protos.d")).unwrap();
    let before = root.tree();
    let config = config(&[(201, "cable")]);
    give(&config, root.path()).unwrap();
    take(root.path()).unwrap();
    assert_eq!(root.tree(), before);

    give(&config, root.path()).unwrap();
    root.write("etc/iproute2/rt_tables.d/other.conf", "7 other\n");
    take(root.path()).unwrap();
    assert_eq!(root.tree().len(), before.len() + 2);
}

#[test]
fn a_directory_in_use_does_not_keep_the_others() {
    let root = Root::new();
    give(&config(&[(201, "cable")]), root.path()).unwrap();
    root.write("etc/iproute2/rt_tables.d/other.conf", "7 other\n");
    take(root.path()).unwrap();
    assert!(!root.path().join("etc/iproute2/rt_protos.d").exists());
    assert_eq!(
        root.read("etc/iproute2/rt_tables.d/other.conf"),
        "7 other\n"
    );
}

#[test]
fn another_configuration_leaves_no_names_of_the_old_one() {
    let root = Root::new();
    give(&config(&[(201, "cable")]), root.path()).unwrap();
    give(&config(&[(202, "cable")]), root.path()).unwrap();
    assert!(root.read(TABLES).ends_with("\n202\tcable\n"));
    let deeds = give(&config(&[]), root.path()).unwrap();
    assert!(matches!(&deeds[..], [Deed::Unchanged(_), Deed::Removed(_)]));
    assert!(!root.path().join("etc/iproute2/rt_tables.d").exists());
    take(root.path()).unwrap();
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn files_of_others_are_neither_overwritten_nor_removed() {
    let root = Root::new();
    root.write(PROTOCOLS, "# by hand\n200 pingu\n");
    root.write(TABLES, "200 cable\n");
    let refusals = root.refusals(&config(&[(201, "cable")]));
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    assert!(refusals[0].starts_with(&format!("/{PROTOCOLS} ")));
    let before = root.tree();
    let deeds = take(root.path()).unwrap();
    assert!(matches!(
        &deeds[..],
        [Deed::LeftAlone(_), Deed::LeftAlone(_)]
    ));
    assert_eq!(root.tree(), before);

    root.write(PROTOCOLS, "# by hand\n0x89 pingu # ours\n");
    root.write(TABLES, "201 cable\n");
    let before = root.tree();
    let deeds = give(&config(&[(201, "cable")]), root.path()).unwrap();
    assert!(matches!(
        &deeds[..],
        [Deed::SaysTheSame(_), Deed::SaysTheSame(_)]
    ));
    assert_eq!(root.tree(), before);
}

#[test]
fn what_is_no_file_is_somebody_elses() {
    let root = Root::new();
    fs::create_dir_all(root.path().join(TABLES)).unwrap();
    let link = root.path().join(PROTOCOLS);
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/nowhere", &link).unwrap();
    match give(&config(&[(201, "cable")]), root.path()) {
        Err(InstallError::Refused(refusals)) => assert_eq!(refusals.len(), 2),
        other => panic!("{other:?}"),
    }
    let deeds = take(root.path()).unwrap();
    assert!(matches!(
        &deeds[..],
        [Deed::LeftAlone(_), Deed::LeftAlone(_)]
    ));
    assert!(link.is_symlink());
}

#[test]
fn numbers_and_names_of_others_are_named_with_file_and_line_all_at_once() {
    let root = Root::new();
    root.write(
        "etc/iproute2/rt_tables",
        "#\n255\tlocal\n 0xc9   R1 # first\n#202 lte\nnonsense\n\n200\tlte\n201\n",
    );
    root.write("etc/iproute2/rt_protos.d/a.conf", "137\tother\n9 pingu\n");
    root.write("etc/iproute2/rt_protos.d/README", "137\tignored\n");
    root.write("usr/share/iproute2/rt_tables.d/b.conf", "203 vpn\n");
    root.write("usr/share/iproute2/rt_tables", "203 hidden\n");
    let refusals = root.refusals(&config(&[(201, "cable"), (202, "lte"), (203, "dsl")]));
    let places: Vec<&str> = refusals
        .iter()
        .map(|refusal| refusal.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        places,
        [
            "/etc/iproute2/rt_protos.d/a.conf:1",
            "/etc/iproute2/rt_protos.d/a.conf:2",
            "/etc/iproute2/rt_tables:3",
            "/etc/iproute2/rt_tables:7",
            "/usr/share/iproute2/rt_tables.d/b.conf:1",
        ],
        "{refusals:#?}"
    );
    for (refusal, words) in refusals.iter().zip([
        ["137", "other"],
        ["9", "pingu"],
        ["201", "R1"],
        ["200", "lte"],
        ["203", "vpn"],
    ]) {
        assert!(words.iter().all(|word| refusal.contains(word)), "{refusal}");
    }
}

#[test]
fn the_same_name_for_the_same_number_elsewhere_is_no_conflict() {
    let root = Root::new();
    root.write("etc/iproute2/rt_tables", "254 main\n201 cable\n");
    let before = root.tree();
    give(&config(&[(201, "cable")]), root.path()).unwrap();
    take(root.path()).unwrap();
    assert_eq!(root.tree(), before);
}
