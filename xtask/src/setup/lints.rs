//! rustfmt and clippy of the compiler that builds pingu; a minimal rustup profile leaves them out.

use crate::{
    invocation::{Invocation, find_program},
    setup::{State, Step},
    workspace::cargo,
};

pub(super) fn state() -> State {
    let versions: Option<Vec<_>> = ["fmt", "clippy"].into_iter().map(version).collect();
    if let Some(versions) = versions {
        return State::Present(versions.join(", "));
    }
    if find_program("rustup").is_none() {
        return State::Impossible(
            "There is no rustup here: install rustfmt and clippy from where this compiler came from (Debian's for \
             rustc-web: apt-get install rustfmt-web rust-web-clippy)"
                .to_owned(),
        );
    }
    // Of the toolchain that runs us: rustup names it in the environment.
    let invocation = Invocation::new("rustup").arguments(["component", "add", "rustfmt", "clippy"]);
    State::Lacking(vec![Step::new(
        "add what rustup's minimal profile leaves out",
        invocation,
    )])
}

/// Without the component, rustup's stand-in for the program fails.
fn version(verb: &str) -> Option<String> {
    let text = Invocation::new(cargo())
        .arguments([verb, "--version"])
        .text()?;
    let words: Vec<_> = text.split_whitespace().take(2).collect();
    Some(words.join(" "))
}
