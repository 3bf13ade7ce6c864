//! A thousand mutated files of each format: never a panic, nothing is run, every refusal names a line, every result loads.
//!
//! A file is a seed. To see one again: `PINGU_IMPORT_SEED=17 cargo test -p pingu --test import`.

use std::path::Path;

use pingu::{
    config::Config,
    import::{Kind, Original, Severity, import},
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

/// Files of each format.
const FILES: u64 = 1000;

/// What makes a single file of the given seed.
const SEED: &str = "PINGU_IMPORT_SEED";

const ORIGINALS: [(Kind, &str); 5] = [
    (Kind::PyPingu, include_str!("originals/py-pingu.json")),
    (
        Kind::Multigateway,
        include_str!("originals/multigateway.py"),
    ),
    (Kind::TwoGateway, include_str!("originals/two-gateway.sh")),
    (Kind::Mwan3, include_str!("originals/mwan3")),
    (Kind::Dpinger, include_str!("originals/dpinger.sh")),
];

/// What breaks parsers. `CANARY` is a path that must never come to be.
const PIECES: &[&str] = &[
    "\"",
    "'",
    "`",
    "\\",
    "\n",
    "\r\n",
    "\t",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    ",",
    ":",
    ";",
    "=",
    "#",
    "//",
    "/*",
    "*/",
    "<<EOF\n",
    "<<",
    ">",
    "&",
    "|",
    "$",
    "${",
    "$(",
    "%",
    "é",
    "\u{202e}",
    "\u{feff}",
    "\0",
    "\u{1b}[31m",
    "𝄞",
    "-1",
    "0",
    "1e308",
    "1e999",
    "-0",
    "0x",
    "999999999999999999999",
    "18446744073709551616",
    "4294967296",
    "65536",
    "0.0000000001",
    "null",
    "true",
    "None",
    "NaN",
    "lambda: 0",
    "\"\"\"",
    "f\"{x}\"",
    "if",
    "fi",
    "}\n",
    "function f {",
    "f() {",
    "$(touch CANARY)",
    "`touch CANARY`",
    "; touch CANARY;",
    "__import__('os').system('touch CANARY')",
    "\nimport os; os.system('touch CANARY')\n",
    "option",
    "list",
    "config",
    "config rule x\n",
    "dpinger",
    "-C 'touch CANARY'",
    "-B",
    "$A$A$A",
    "A=$A$A",
    "127.0.0.1",
    "255.255.255.255",
    "::",
    "::ffff:1.2.3.4",
    "eth0",
    "/",
    "..",
    "[[uplink]]",
    "\"reset_script\": \"touch CANARY\",",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

#[test]
fn mutated_files_never_panic_never_run_and_are_refused_by_line_or_load() {
    let directory = tempfile::tempdir().unwrap();
    let canary = directory.path().join("canary");
    if let Ok(seed) = std::env::var(SEED) {
        for (kind, text) in ORIGINALS {
            attempt(kind, text, seed.parse().unwrap(), &canary);
        }
        return;
    }
    let workers: Vec<_> = ORIGINALS
        .into_iter()
        .map(|(kind, text)| {
            let canary = canary.clone();
            std::thread::spawn(move || {
                (0..FILES)
                    .filter(|&seed| attempt(kind, text, seed, &canary))
                    .count()
            })
        })
        .collect();
    for (worker, (kind, _)) in workers.into_iter().zip(ORIGINALS) {
        let accepted = worker.join().unwrap() as u64;
        // Neither may be all: then the mutations would show nothing.
        assert!(
            (10..FILES - 10).contains(&accepted),
            "{kind:?}: {accepted} are accepted"
        );
    }
}

/// Mutates a file and imports it, as its own kind and as what it is recognised as; tells whether the first was accepted.
fn attempt(kind: Kind, text: &str, seed: u64, canary: &Path) -> bool {
    let mutated = mutate(text, seed, canary);
    let lines = mutated.lines().count().max(1);
    let mut accepted = false;
    for forced in [Some(kind), None] {
        let original = Original {
            file: "mutated\nfile",
            text: &mutated,
            network: Some(&mutated),
        };
        match import(original, forced) {
            Ok(imported) => {
                accepted |= forced.is_some();
                let (again, _) = Config::parse(&imported.toml, "again")
                    .unwrap_or_else(|problems| panic!("seed {seed}: {problems}"));
                assert_eq!(again, imported.config, "seed {seed}");
                let hidden = |c: char| c.is_control() && c != '\n';
                assert!(
                    !imported.toml.contains(hidden),
                    "seed {seed}: {:?}",
                    imported.toml
                );
                assert!(
                    imported
                        .notes
                        .iter()
                        .all(|note| (1..=lines + 1).contains(&note.line)),
                    "seed {seed}"
                );
            }
            Err(refusal) => {
                assert!(
                    refusal
                        .list
                        .iter()
                        .any(|finding| finding.severity == Severity::Error),
                    "seed {seed}"
                );
                for finding in &refusal.list {
                    assert!(
                        (1..=lines + 1).contains(&finding.line),
                        "seed {seed}: {finding:?} of {lines}"
                    );
                }
                for line in refusal.to_string().lines() {
                    assert!(line.starts_with("mutated file:"), "seed {seed}: {line}");
                }
            }
        }
    }
    assert!(!canary.exists(), "seed {seed} ran something");
    accepted
}

fn mutate(text: &str, seed: u64, canary: &Path) -> String {
    let mut random = StdRng::seed_from_u64(seed);
    let mut text = text.to_owned();
    for _ in 0..random.random_range(1..=4) {
        let at = place(&text, &mut random);
        match random.random_range(0..9) {
            0 => text.truncate(at),
            1 => {
                let c = text[at..].chars().next();
                let end = at + c.map_or(0, char::len_utf8);
                text.replace_range(at..end, "");
            }
            2 => line_twice(&mut text, &mut random, true),
            3 => line_twice(&mut text, &mut random, false),
            4 => text.insert_str(at, &"(".repeat(random.random_range(1..2000))),
            5 => number(&mut text, &mut random),
            _ => {
                let piece = PIECES.choose(&mut random).unwrap();
                text.insert_str(at, &piece.replace("CANARY", canary.to_str().unwrap()));
            }
        }
    }
    text
}

fn place(text: &str, random: &mut StdRng) -> usize {
    let at = random.random_range(0..=text.len());
    (at..=text.len())
        .find(|&at| text.is_char_boundary(at))
        .unwrap()
}

/// Has a line stand somewhere else, or there too.
fn line_twice(text: &mut String, random: &mut StdRng, stays: bool) {
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return;
    }
    let from = random.random_range(0..lines.len());
    let line = if stays {
        lines[from]
    } else {
        lines.remove(from)
    };
    let to = random.random_range(0..=lines.len());
    lines.insert(to, line);
    *text = lines.join("\n");
}

/// Puts another number in the place of one.
fn number(text: &mut String, random: &mut StdRng) {
    let digits: Vec<usize> = text
        .match_indices(|c: char| c.is_ascii_digit())
        .map(|(at, _)| at)
        .collect();
    if let Some(&at) = digits.choose(random) {
        let others = [
            "0",
            "7",
            "-3",
            "1000000",
            "99999999999999999999",
            "0.5",
            "'",
            "",
        ];
        text.replace_range(at..=at, others.choose(random).unwrap());
    }
}
