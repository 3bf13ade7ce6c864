//! What stands in the way is told all at once, before anything is written.

use super::*;

#[test]
fn what_others_wrote_is_refused_all_at_once_and_left_by_uninstall() {
    let world = World::new();
    world.write(PROGRAM, "somebody's");
    world.write(UNIT, "[Service]\n");
    world.write(TABLES, "200 fibre\n");
    world.write("etc/iproute2/rt_protos", "137 other\n");
    let refusals = world.refusals(Some(GOOD));
    let places = [PROGRAM, UNIT, "etc/iproute2/rt_protos", TABLES];
    assert_eq!(refusals.len(), places.len(), "{refusals:#?}");
    for (refusal, place) in refusals.iter().zip(places) {
        assert!(refusal.starts_with(&format!("/{place}")), "{refusal}");
    }
    let before = world.tree();
    let left = world.uninstall();
    assert!(
        left.iter().all(|line| line.starts_with("left alone: ")),
        "{left:?}"
    );
    assert_eq!(world.tree(), before);
}

#[test]
fn what_was_changed_since_is_not_overwritten() {
    let world = World::new();
    world.install(Some(GOOD));
    let unit = world.read(UNIT) + "Environment=RUST_LOG=debug\n";
    world.write(UNIT, &unit);
    world.write(PROGRAM, "a package's");
    let refusals = world.refusals(None);
    assert_eq!(refusals.len(), 2, "{refusals:#?}");
    assert!(
        refusals.iter().all(|r| r.contains("has been changed")),
        "{refusals:#?}"
    );
    // The unit is ours by its mark and useless without us; the program is somebody else's.
    world.uninstall();
    assert!(!world.has(UNIT));
    assert_eq!(world.read(PROGRAM), "a package's");
}

#[test]
fn what_a_package_brought_is_used_and_stays() {
    let world = World::new();
    world.write(PROGRAM, "one");
    world.write("usr/lib/systemd/system/pingu.service", "[Service]\n");
    world.write(CONFIG, GOOD);
    let before = world.tree();
    let deeds = world.install(None);
    assert_eq!(
        deeds[..3],
        [
            format!("left alone: /{CONFIG} is there already"),
            format!("left alone: /{PROGRAM} says the same, but was not written by `pingu install`"),
            format!("left alone: /{UNIT} is there already")
        ]
    );
    assert!(!world.has(UNIT) && !world.has(MANIFEST));
    world.uninstall();
    assert_eq!(world.tree(), before);
}

#[test]
fn links_and_special_files_are_refused_and_not_followed() {
    let world = World::new();
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    for file in [PROGRAM, CONFIG, PROTOCOLS] {
        let path = world.root().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(&victim, path).unwrap();
    }
    fs::create_dir_all(world.root().join(UNIT)).unwrap();
    let refusals = world.refusals(Some(GOOD));
    assert_eq!(refusals.len(), 4, "{refusals:#?}");
    let before = world.tree();
    world.uninstall();
    assert_eq!(world.tree(), before);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

#[test]
fn a_link_that_was_left_in_place_of_a_fresh_file_is_not_written_through() {
    let world = World::new();
    let victim = world.elsewhere.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    fs::create_dir_all(world.root().join("usr/bin")).unwrap();
    symlink(&victim, world.root().join("usr/bin/pingu.pingu-new")).unwrap();
    world.install(None);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(world.read(PROGRAM), "one");
    assert!(!world.root().join(PROGRAM).is_symlink());
    assert!(!world.has("usr/bin/pingu.pingu-new"));
}

#[test]
fn a_directory_that_leads_out_of_the_root_is_refused() {
    let world = World::new();
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), world.root().join("etc")).unwrap();
    world.write("usr", "a file");
    let refusals = world.refusals(Some(GOOD));
    assert!(refusals.len() >= 3, "{refusals:#?}");
    assert!(
        refusals.iter().any(|r| r.starts_with("/etc is a link")),
        "{refusals:#?}"
    );
    assert!(
        refusals
            .iter()
            .any(|r| r.starts_with("/usr is no directory")),
        "{refusals:#?}"
    );
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_note_that_makes_no_sense_stops_everything_before_anything_is_done() {
    let world = World::new();
    world.install(Some(GOOD));
    world.write(MANIFEST, "{");
    let before = world.tree();
    for outcome in [world.try_install(None), uninstall(world.root())] {
        let error = outcome.unwrap_err();
        assert!(error.to_string().ends_with(MANIFEST), "{error}");
    }
    assert_eq!(world.tree(), before);
}

#[test]
fn it_is_not_started_below_another_root_nor_without_a_configuration() {
    let world = World::new();
    let outcome = install(&Request {
        root: world.root(),
        program: &world.program(),
        config: None,
        starts: true,
    });
    match outcome {
        Err(InstallError::Refused(refusals)) => assert_eq!(refusals.len(), 2, "{refusals:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.tree().len(), 1);
}

#[test]
fn a_broken_configuration_that_is_there_is_told_with_its_lines() {
    let world = World::new();
    world.write(CONFIG, "protocl = 1\n");
    let refusals = world.refusals(None);
    assert!(refusals.len() >= 2, "{refusals:?}");
    assert!(
        refusals[0].contains("pingu.toml:1:1: error:"),
        "{refusals:?}"
    );
}

#[test]
fn a_root_that_is_not_there_is_not_made() {
    let world = World::new();
    let nowhere = world.root().join("nowhere");
    let request = Request {
        root: &nowhere,
        program: &world.program(),
        config: None,
        starts: false,
    };
    assert!(matches!(install(&request), Err(InstallError::Refused(_))));
    assert_eq!(uninstall(&nowhere).unwrap(), []);
    assert!(!nowhere.exists());
}
