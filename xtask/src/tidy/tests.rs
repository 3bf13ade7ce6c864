//! Each rule on a text that breaks it and on one that only looks so.

use super::*;

const HEAD: &str = "//! Its job.\n";
const NONE: [usize; 0] = [];

#[test]
fn a_finding_is_printed_as_editors_expect_it() {
    let finding = Finding {
        file: "a/b.rs".to_owned(),
        line: 3,
        what: "is wrong".to_owned(),
    };
    assert_eq!(finding.to_string(), "a/b.rs:3: is wrong");
}

#[test]
fn a_tidy_file_is_left_in_peace() {
    let text = format!("{HEAD}fn main() {{\n    let name = \"x\";\n}}\n");
    assert_eq!(findings_in("pingu/src/main.rs", &text), []);
}

#[test]
fn a_rust_file_opens_with_its_job() {
    assert_eq!(lines("pingu/src/a.rs", "use std::fs;\n"), [1]);
    assert_eq!(lines("pingu/src/a.rs", ""), [1]);
    assert_eq!(lines("README.md", "pingu\n"), NONE);
}

#[test]
fn no_file_is_called_mod() {
    assert_eq!(lines("pingu/src/probe/mod.rs", HEAD), [1]);
    assert_eq!(lines("pingu/src/probe/remod.rs", HEAD), NONE);
}

#[test]
fn four_hundred_lines_are_the_most() {
    let full = format!("{HEAD}{}", "\n".repeat(LINES_MAX - 1));
    assert_eq!(lines("pingu/src/a.rs", &full), NONE);
    assert_eq!(
        lines("pingu/src/a.rs", &format!("{full}\n")),
        [LINES_MAX + 1]
    );
    assert_eq!(lines("CHANGELOG.md", &format!("{full}\n")), NONE);
}

#[test]
fn a_line_is_measured_in_characters() {
    let full = "ü".repeat(CHARACTERS_MAX);
    assert_eq!(lines("README.md", &full), NONE);
    assert_eq!(lines("README.md", &format!("\n{full}x\n")), [2]);
    assert_eq!(lines("Cargo.lock", &format!("{full}x\n")), NONE);
    assert_eq!(lines("README.md", &format!("| {full} |\n")), NONE);
    assert_eq!(lines("a.toml", &format!("| {full} |\n")), [1]);
}

#[test]
fn unwrap_is_for_tests() {
    let call = "fn a() {\n    b().unwrap();\n}\n";
    assert_eq!(lines("pingu/src/a.rs", &format!("{HEAD}{call}")), [3]);
    assert_eq!(lines("tests/src/lab/a.rs", &format!("{HEAD}{call}")), [3]);
    assert_eq!(
        lines("tests/tests/lab/a.rs", &format!("{HEAD}{call}")),
        NONE
    );
    assert_eq!(
        lines("pingu/src/a/tests.rs", &format!("{HEAD}{call}")),
        NONE
    );
    let described = "// Not b().unwrap(), as \"b().unwrap()\" says.\n";
    assert_eq!(lines("pingu/src/a.rs", &format!("{HEAD}{described}")), NONE);
}

#[test]
fn unwrap_is_for_tests_within_a_file_too() {
    let text = format!(
        "{HEAD}#[cfg(test)]\nmod tests {{\n    fn a() {{\n        b().unwrap();\n    }}\n}}\n\n\
         fn c() {{\n    d().unwrap();\n}}\n#[cfg(test)]\nmod more;\nfn e() {{\n    f().unwrap();\n}}\n"
    );
    assert_eq!(lines("pingu/src/a.rs", &text), [10, 15]);
}

#[test]
fn a_lint_is_expected_and_not_allowed() {
    assert_eq!(
        lines("pingu/src/a.rs", &format!("{HEAD}#![allow(dead_code)]\n")),
        [2]
    );
    assert_eq!(
        lines("tests/tests/a.rs", &format!("{HEAD}#[allow(dead_code)]\n")),
        [2]
    );
    let expected = format!("{HEAD}#[expect(dead_code, reason = \"#[allow(\")]\n");
    assert_eq!(lines("pingu/src/a.rs", &expected), NONE);
}

#[test]
fn tests_are_called_by_sentences_and_all_run() {
    let text =
        format!("{HEAD}#[test]\n#[ignore = \"slow\"]\nfn test_it() {{}}\nfn test_run() {{}}\n");
    assert_eq!(lines("tests/tests/a.rs", &text), [3, 4]);
}

#[test]
fn a_path_of_one_machine_is_found_wherever_it_begins() {
    for place in PRIVATE_PLACES {
        assert_eq!(
            lines("README.md", &format!("see `{place}`\n")),
            [1],
            "{place}"
        );
        assert_eq!(
            lines("a.sh", &format!("cd {place}/there\n")),
            [1],
            "{place}"
        );
        assert_eq!(
            lines("README.md", &format!("see {place}shop and a{place}\n")),
            NONE,
            "{place}"
        );
    }
}

#[test]
fn no_line_ends_in_a_blank() {
    assert_eq!(lines("README.md", "a \nb\t\nc\r\nd\n"), [1, 2, 3]);
}

#[test]
fn code_is_what_is_neither_comment_nor_literal() {
    let text = r####"let a = "x\"y"; // z
let b = r#"p"q"#; /* l /* m */
n */ let c = '\''; let d: &'static str = b'e'; r#type.f('g', "h");"####;
    let expected = [
        "let a =       ;     ",
        "let b =         ;             ",
        "     let c =     ; let d: &'static str = b   ; r#type.f(   ,    );",
    ];
    let code = code::without_comments_and_literals(text);
    assert_eq!(code.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn what_is_not_closed_ends_with_the_text() {
    for text in ["\"a", "/* a", "r#\"a", "'\\", "a \"\\"] {
        let code = code::without_comments_and_literals(text);
        assert_eq!(code.chars().count(), text.chars().count(), "{text}");
    }
}

fn lines(file: &str, text: &str) -> Vec<usize> {
    findings_in(file, text)
        .into_iter()
        .map(|finding| finding.line)
        .collect()
}
