//! What the kernel of this machine has.

use std::fs;

/// The first Linux with TCX.
const TCX_SINCE: (u32, u32) = (6, 6);

/// What status calls programs that nobody has given another hook.
#[track_caller]
pub fn default_hook() -> &'static str {
    if release() >= TCX_SINCE {
        "tcx"
    } else {
        "clsact"
    }
}

/// The hooks of TC that it has, the one that is the default first.
#[track_caller]
pub fn classifier_hooks() -> &'static [&'static str] {
    match default_hook() {
        "tcx" => &["tcx", "clsact"],
        _ => &["clsact"],
    }
}

#[track_caller]
fn release() -> (u32, u32) {
    let text =
        fs::read_to_string("/proc/sys/kernel/osrelease").expect("every kernel tells its release");
    let mut numbers = text
        .split(|character: char| !character.is_ascii_digit())
        .map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => panic!("no release: {text}"),
    }
}
