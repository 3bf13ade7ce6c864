//! Why uplinks are what they are, as text for a tired person.

use std::fmt::Write;

use crate::engine::{CheckStatus, State, Why, WhyCause, WhyTarget, WhyUplink};

const INFALLIBLE: &str = "a string takes all text";

/// Renders it: a paragraph an uplink, a smaller one each target.
pub fn render(why: &Why) -> String {
    let mut text = String::new();
    for uplink in &why.uplinks {
        if !text.is_empty() {
            text.push('\n');
        }
        write_uplink(&mut text, uplink);
    }
    for warning in &why.warnings {
        writeln!(text, "\nwarning: {warning}").expect(INFALLIBLE);
    }
    text
}

fn write_uplink(text: &mut String, uplink: &WhyUplink) {
    writeln!(
        text,
        "{} ({}) is {} since {}: {}.",
        uplink.name,
        uplink.interface,
        word(uplink.state),
        uplink.since,
        uplink.reason
    )
    .expect(INFALLIBLE);
    writeln!(text, "  Routes: {}.", uplink.routes).expect(INFALLIBLE);
    for target in &uplink.targets {
        write_target(text, target);
    }
    for check in &uplink.checks {
        write_check(text, check);
    }
}

fn write_check(text: &mut String, check: &CheckStatus) {
    let last = match (&check.last, &check.took_ms) {
        (Some(last), Some(took_ms)) => format!("its last run, of {took_ms:.0} ms: {last}"),
        _ => "it has not run yet".to_owned(),
    };
    writeln!(
        text,
        "  Check {} (kind {}) is {} since {}; {last}.",
        check.name,
        check.kind,
        word(check.state),
        check.since
    )
    .expect(INFALLIBLE);
    if !check.required {
        writeln!(text, "    It is not required: it takes no uplink down.").expect(INFALLIBLE);
    }
    if check.left_out {
        writeln!(
            text,
            "    It is left out: it fails over every uplink, so its far end is taken to be dead."
        )
        .expect(INFALLIBLE);
    }
}

fn write_target(text: &mut String, target: &WhyTarget) {
    let since = match &target.since {
        Some(since) => format!(" since {since}"),
        None => String::new(),
    };
    let judgement = target
        .judgement
        .as_deref()
        .unwrap_or("nothing was judged yet");
    writeln!(
        text,
        "  Target {} is {}{since}: {judgement}.",
        target.address,
        word(target.state)
    )
    .expect(INFALLIBLE);
    writeln!(text, "    It takes {}.", target.limits).expect(INFALLIBLE);
    if let Some(limit) = target.rate_limited {
        writeln!(
            text,
            "    It is rate-limited: it answers {limit} probes at a time and drops more, so it is asked for no more, and now and then \
             for all again."
        )
        .expect(INFALLIBLE);
    }
    if let Some(interval_ms) = target.rate_limited_interval_ms {
        writeln!(
            text,
            "    It is rate-limited: it drops what is asked oftener than each {interval_ms:.0} ms, so it is asked no oftener, and now and \
             then as it was to be."
        )
        .expect(INFALLIBLE);
    }
    if let Some(directions) = &target.directions {
        let fault = directions.fault.as_deref();
        let told = fault.unwrap_or("neither direction loses anything to speak of");
        writeln!(text, "    By its reflector's counts, {told}.").expect(INFALLIBLE);
    }
    if target.left_out {
        writeln!(
            text,
            "    It is left out: it fails over every uplink while another target answers."
        )
        .expect(INFALLIBLE);
    }
    writeln!(
        text,
        "    Of {} probes {} were answered in time.",
        target.sent, target.answered
    )
    .expect(INFALLIBLE);
    for cause in &target.causes {
        write_cause(text, cause);
    }
}

fn write_cause(text: &mut String, why: &WhyCause) {
    let cause = &why.cause;
    let detail = match &cause.detail {
        Some(detail) => format!(" ({detail})"),
        None => String::new(),
    };
    writeln!(
        text,
        "    {} x {}{detail}, last {}.\n      {} {}",
        cause.count,
        cause.cause.name(),
        cause.last,
        why.meaning,
        why.remedy
    )
    .expect(INFALLIBLE);
}

fn word(state: State) -> &'static str {
    match state {
        State::Up => "up",
        State::Down => "down",
        State::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told_of_check(check: serde_json::Value) -> String {
        let why = json!({
            "warnings": [],
            "uplinks": [{
                "name": "fibre", "interface": "wan1", "state": "up", "since": "2026-11-21T00:00:00Z", "reason": "probes are answered",
                "active": true, "routes": "traffic leaves by it", "targets": [], "checks": [check],
            }],
        });
        render(&serde_json::from_value(why).unwrap())
    }

    #[test]
    fn checks_are_told_with_what_their_last_run_came_to() {
        let failed = told_of_check(json!({
            "name": "web", "kind": "http", "required": false, "state": "down", "since": "2026-11-21T00:00:00Z",
            "last": "captive portal: 302", "cause": "portal", "left_out": true, "took_ms": 12.3,
        }));
        assert!(
            failed.contains(
                "  Check web (kind http) is down since 2026-11-21T00:00:00Z; its last run, of 12 ms: captive portal: 302.\n"
            ),
            "{failed}"
        );
        assert!(
            failed.contains("It is not required") && failed.contains("It is left out"),
            "{failed}"
        );
        let new = told_of_check(json!({
            "name": "tcp", "kind": "tcp", "required": true, "state": "unknown", "since": "2026-11-21T00:00:00Z",
            "last": null, "cause": null, "took_ms": null,
        }));
        assert!(
            new.ends_with("is unknown since 2026-11-21T00:00:00Z; it has not run yet.\n"),
            "{new}"
        );
    }

    fn told_of(directions: serde_json::Value) -> String {
        let why = json!({
            "warnings": [],
            "uplinks": [{
                "name": "fibre", "interface": "wan1", "state": "up", "since": "2026-11-21T00:00:00Z", "reason": "probes are answered",
                "active": true, "routes": "traffic leaves by it",
                "targets": [{
                    "address": "192.0.2.1", "state": "up", "since": null, "judgement": null, "limits": "an answer", "left_out": false,
                    "sent": 100, "answered": 60, "causes": [], "directions": directions,
                }],
            }],
        });
        render(&serde_json::from_value(why).unwrap())
    }

    #[test]
    fn a_reflectors_word_on_directions_is_told() {
        let directions = |fault: Option<&str>| json!({ "of": 100, "forward_lost": 0, "backward_lost": 40, "untold": 0, "fault": fault });
        let lossy = told_of(directions(Some("replies are lost on the way back: 40 %")));
        assert!(
            lossy.contains("By its reflector's counts, replies are lost on the way back: 40 %."),
            "{lossy}"
        );
        let whole = told_of(directions(None));
        assert!(whole.contains("neither direction loses"), "{whole}");
        assert!(!told_of(json!(null)).contains("reflector"));
    }
}
