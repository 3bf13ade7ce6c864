//! Reading `pingu status --json`: the interface that is promised to everybody, so the tests read it as anybody would.

use serde_json::Value;

/// One uplink's part.
#[track_caller]
pub fn uplink<'a>(status: &'a Value, name: &str) -> &'a Value {
    let uplinks = status["uplinks"]
        .as_array()
        .unwrap_or_else(|| panic!("no array `uplinks` in {status:#}"));
    let found = uplinks.iter().find(|uplink| uplink["name"] == name);
    found.unwrap_or_else(|| panic!("no uplink `{name}` in {status:#}"))
}

/// One uplink's state.
#[track_caller]
pub fn state<'a>(status: &'a Value, name: &str) -> &'a str {
    text(uplink(status, name), "state")
}

/// Why an uplink is in its state.
#[track_caller]
pub fn reason<'a>(status: &'a Value, name: &str) -> &'a str {
    text(uplink(status, name), "reason")
}

/// Whether all these uplinks are up.
#[track_caller]
pub fn all_up(status: &Value, names: &[&str]) -> bool {
    names.iter().all(|name| state(status, name) == "up")
}

/// The figures of an uplink's target number `index`.
#[track_caller]
pub fn target<'a>(status: &'a Value, name: &str, index: usize) -> &'a Value {
    let target = &uplink(status, name)["targets"][index];
    assert!(
        target.is_object(),
        "uplink `{name}` has no target {index}: {status:#}"
    );
    target
}

/// One of a target's counters.
#[track_caller]
pub fn counter(target: &Value, name: &str) -> u64 {
    target[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no counter `{name}` in {target:#}"))
}

/// How many of a target's probes are done with, one way or another.
#[track_caller]
pub fn settled(target: &Value) -> u64 {
    ["answered", "lost", "late", "not_sent"]
        .iter()
        .map(|name| counter(target, name))
        .sum()
}

#[track_caller]
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no text `{key}` in {value:#}"))
}
