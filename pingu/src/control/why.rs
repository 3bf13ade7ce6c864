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
