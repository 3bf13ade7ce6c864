//! How mwan3 tracks an interface, and when that is online.

use std::time::Duration;

use crate::import::{
    draft::{Section as Table, duration},
    findings::{Findings, quote},
    uci::Section,
};

/// What mwan3track takes for what is not given.
const TIMEOUT_S: u32 = 4;
const INTERVAL_S: u32 = 10;
const DOWN: u32 = 5;
const UP: u32 = 5;
const SIZE: u32 = 56;
const FAILURE_LATENCY_MS: u32 = 1000;
const RECOVERY_LATENCY_MS: u32 = 500;
const FAILURE_LOSS: u32 = 40;
const RECOVERY_LOSS: u32 = 10;

/// The smallest payload that pingu's matching needs, and the longest limits that it has.
const SIZE_MIN: u32 = 24;
const TIME_MAX_MS: u32 = 60_000;

/// What ping puts between two requests.
const SPACING: Duration = Duration::from_secs(1);

/// Writes its keys of probing and judging.
pub(super) fn probe(table: &mut Table, section: &Section, findings: &mut Findings) {
    let mut get = |key, default| number(section, key, default, findings);
    let reliability = get("reliability", 1);
    let (count, count_line) = get("count", 1);
    let (timeout, timeout_line) = get("timeout", TIMEOUT_S);
    let (interval, interval_line) = get("interval", INTERVAL_S);
    let (down, up) = (get("down", DOWN), get("up", UP));
    let (size, size_line) = get("size", SIZE);
    put(
        table,
        "quorum",
        reliability.0,
        (reliability.1, "reliability"),
    );
    let seconds = |number: u32| Duration::from_secs(number.into());
    put(
        table,
        "period",
        duration(seconds(interval)),
        (interval_line, "interval"),
    );
    put(table, "count", count, (count_line, "count"));
    let spacing = SPACING
        .min(seconds(interval) / count.max(1))
        .max(Duration::from_millis(1));
    if count > 1 {
        table.own("spacing", duration(spacing), "");
    }
    put(
        table,
        "timeout",
        duration(seconds(timeout)),
        (timeout_line, "timeout"),
    );
    put(table, "size", size.max(SIZE_MIN), (size_line, "size"));
    put(table, "fall", down.0, (down.1, "down"));
    put(table, "rise", up.0, (up.1, "up"));
    if section.is_on("check_quality", false) {
        quality(table, section, findings);
    } else {
        let why = "One answer is enough, however late.";
        table.own("max_lost", count.saturating_sub(1), why);
        let limit = seconds(timeout).clamp(Duration::from_millis(1), Duration::from_secs(60));
        table.own("max_delay", duration(limit), "");
    }
    if let Some(line) = size_line.filter(|_| size < SIZE_MIN) {
        findings.differs(
            line,
            format!("`size` {size}: pingu's probes have {SIZE_MIN} bytes at least"),
        );
    }
}

/// `check_quality`: limits of losses and delay, with stricter ones to come back.
fn quality(table: &mut Table, section: &Section, findings: &mut Findings) {
    let (fail_ms, fail_ms_line) = number(section, "failure_latency", FAILURE_LATENCY_MS, findings);
    let (recover_ms, recover_ms_line) =
        number(section, "recovery_latency", RECOVERY_LATENCY_MS, findings);
    let (fail, fail_line) = number(section, "failure_loss", FAILURE_LOSS, findings);
    let (recover, recover_line) = number(section, "recovery_loss", RECOVERY_LOSS, findings);
    // mwan3 fails at the limit, pingu above it; both count whole per cent.
    let max_loss = fail.saturating_sub(1).min(100);
    put(table, "max_loss", max_loss, (fail_line, "failure_loss"));
    put(
        table,
        "recover_loss",
        recover.min(max_loss),
        (recover_line, "recovery_loss"),
    );
    let ms = |number: u32| Duration::from_millis(number.clamp(1, TIME_MAX_MS).into());
    put(
        table,
        "max_delay",
        duration(ms(fail_ms)),
        (fail_ms_line, "failure_latency"),
    );
    // And it recovers at the limit, in whole milliseconds, pingu below it.
    let below = recover_ms.saturating_add(1).min(fail_ms);
    put(
        table,
        "recover_delay",
        duration(ms(below)),
        (recover_ms_line, "recovery_latency"),
    );
}

/// A number of an option, or what mwan3 takes, and its line.
fn number(
    section: &Section,
    key: &str,
    default: u32,
    findings: &mut Findings,
) -> (u32, Option<usize>) {
    let Some((value, line)) = section.option(key) else {
        return (default, None);
    };
    match value.trim().parse() {
        Ok(number) => (number, Some(line)),
        Err(_) => {
            findings.wrong(line, key, "a whole number", &quote(value));
            (default, None)
        }
    }
}

fn put(
    table: &mut Table,
    key: &'static str,
    value: impl ToString,
    (line, original): (Option<usize>, &str),
) {
    match line {
        Some(line) => table.set(key, value, line, original),
        None => table.own(key, value, ""),
    }
}
