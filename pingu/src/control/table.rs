//! The status as a table for a tired person.

use std::fmt::Write;

use crate::engine::{HookRun, HookStatus, PinnedBy, State, Status, TargetStatus, UplinkStatus};

const COLUMNS: usize = 9;

const HEADINGS: [&str; COLUMNS] = [
    "UPLINK", "DEV", "METRIC", "STATE", "LOSS", "RTT", "JITTER", "GATEWAY", "REASON",
];

/// Renders the status, one line an uplink, the active one marked.
pub fn render(status: &Status) -> String {
    let rows: Vec<[String; COLUMNS]> = std::iter::once(HEADINGS.map(str::to_owned))
        .chain(status.uplinks.iter().map(row))
        .collect();
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    });
    let mut text = format!(
        "active: {}\n",
        status.active.as_deref().unwrap_or("none of the uplinks")
    );
    if let Some(pinned) = &status.pinned {
        let by = match status.pinned_by {
            Some(PinnedBy::File) => "the sticky file",
            Some(PinnedBy::Command) | None => "`pingu pin`",
        };
        writeln!(text, "pinned: {pinned}, by {by}").expect("writing to a string cannot fail");
    }
    text.push('\n');
    for (index, row) in rows.iter().enumerate() {
        let active = index > 0 && status.uplinks[index - 1].active;
        let mut line = String::from(if active { "* " } else { "  " });
        for (cell, width) in row.iter().zip(widths) {
            write!(line, "{cell:width$}  ").expect("writing to a string cannot fail");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    if !status.hooks.is_empty() {
        text.push('\n');
    }
    for hook in &status.hooks {
        writeln!(text, "{}", described(hook)).expect("writing to a string cannot fail");
    }
    for warning in &status.warnings {
        writeln!(text, "\nwarning: {warning}").expect("writing to a string cannot fail");
    }
    text
}

/// A hook in one line: counts of what went wrong only where there are any.
fn described(hook: &HookStatus) -> String {
    let mut line = format!("hook {}: {} runs", hook.name, hook.runs);
    for (count, what) in [
        (hook.failures, "failed"),
        (hook.timeouts, "took too long"),
        (hook.dropped, "dropped"),
        (hook.suppressed, "too early"),
        (hook.waiting, "waiting"),
    ] {
        if count > 0 {
            write!(line, ", {count} {what}").expect("writing to a string cannot fail");
        }
    }
    if let Some(last) = &hook.last {
        let HookRun {
            event,
            subject,
            outcome,
            ..
        } = last;
        write!(line, "; last: {event} {subject}, {outcome}")
            .expect("writing to a string cannot fail");
    }
    line
}

fn row(uplink: &UplinkStatus) -> [String; COLUMNS] {
    let best = uplink
        .targets
        .iter()
        .filter_map(|target| target.rtt_us)
        .min_by(|a, b| a.p50.total_cmp(&b.p50));
    let state = match uplink.state {
        State::Up => "up",
        State::Down => "down",
        State::Unknown => "unknown",
    };
    [
        uplink.name.clone(),
        uplink.interface.clone(),
        uplink.metric.to_string(),
        state.to_owned(),
        loss(&uplink.targets),
        best.map_or_else(|| "-".to_owned(), |rtt| duration(rtt.p50)),
        best.map_or_else(|| "-".to_owned(), |rtt| duration(rtt.jitter)),
        uplink
            .gateway
            .map_or_else(|| "-".to_owned(), |gateway| gateway.to_string()),
        uplink.reason.clone(),
    ]
}

/// The recent loss of the best target: one that answers is enough.
fn loss(targets: &[TargetStatus]) -> String {
    let recent = targets
        .iter()
        .filter_map(|target| target.recent_loss_percent);
    recent
        .min_by(f64::total_cmp)
        .map_or_else(|| "-".to_owned(), |loss| format!("{loss:.0}%"))
}

fn duration(us: f64) -> String {
    match us {
        us if us < 1_000.0 => format!("{us:.0}us"),
        us if us < 100_000.0 => format!("{:.1}ms", us / 1e3),
        us => format!("{:.0}ms", us / 1e3),
    }
}
