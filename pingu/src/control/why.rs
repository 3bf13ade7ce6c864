//! Why uplinks are what they are, as text for a tired person.

use std::fmt::Write;

use crate::engine::{State, Why, WhyCause, WhyTarget, WhyUplink};

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
