//! Runs a program: its exit status is what it says of the uplink.

use std::{io, process::Stdio, time::Instant};

use crate::{
    config::ExecCheck,
    engine::check::{Cause, CheckOrder, CheckOutcome, Exit, Failure},
    process::{Group, Program, described},
};

/// So much of the output's end is kept; the rest is read and forgotten.
const OUTPUT_BYTES_MAX: usize = 4096;

/// A program that has ended leaves no more than this unread (pipe(7), "Pipe capacity").
const PIPE_BYTES: usize = 65_536;

/// So much of its last line is told.
const LINE_CHARS_MAX: usize = 200;

/// Runs an `exec` check.
pub(super) async fn run(order: &CheckOrder, check: &ExecCheck, deadline: Instant) -> CheckOutcome {
    let program = &check.command[0];
    let failed = |error: io::Error| Failure::local(format!("cannot run {program}"), error);
    let (mut group, mut output) = Group::start(Program {
        command: &check.command,
        environment: environment(order),
        input: Stdio::null(),
    })
    .map_err(failed)?;
    let mut kept: Vec<u8> = Vec::new();
    let mut keep = |bytes: &[u8]| {
        kept.extend_from_slice(bytes);
        kept.drain(..kept.len().saturating_sub(OUTPUT_BYTES_MAX));
    };
    let ended = loop {
        tokio::select! {
            biased;
            ended = group.ended() => {
                ended.map_err(failed)?;
                break true;
            }
            // Before the output, of which there may always be more.
            () = tokio::time::sleep_until(deadline.into()) => break false,
            () = output.read(&mut keep), if output.is_open() => {}
        }
    };
    if ended {
        output.read_rest(&mut keep, PIPE_BYTES);
    }
    let status = group.finish().await.filter(|_| ended);
    let text = text_of(&kept);
    if status.is_some_and(|status| status.success()) {
        return Ok(match last_line(&text) {
            Some(line) => line,
            None => "exit status 0".to_owned(),
        });
    }
    let what = match status {
        None => "time is over: it was killed".to_owned(),
        Some(status) => described(status),
    };
    tracing::info!(uplink = %order.uplink, check = order.check.name, what, output = text, "program failed");
    let cause = match status {
        None => Cause::Timeout,
        Some(_) => Cause::Exit,
    };
    let name = program.rsplit('/').next().unwrap_or(program);
    let line = last_line(&text).map_or_else(String::new, |line| format!(": {line}"));
    Err(Failure::new(cause, format!("{name}: {what}{line}")))
}

fn last_line(text: &str) -> Option<String> {
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(line.trim().chars().take(LINE_CHARS_MAX).collect())
}

/// Everything that the program finds in its environment.
fn environment(order: &CheckOrder) -> Vec<(String, String)> {
    let way = &order.way;
    let mut all = vec![
        ("PINGU_UPLINK", order.uplink.to_string()),
        ("PINGU_CHECK", order.check.name.clone()),
        ("PINGU_INTERFACE", way.interface.clone()),
        ("PINGU_IFINDEX", way.ifindex.to_string()),
        ("PINGU_MTU", way.mtu_bytes.to_string()),
        ("PINGU_TABLE", way.table.to_string()),
        (
            "PINGU_TIMEOUT_MS",
            order.check.timeout.as_millis().to_string(),
        ),
    ];
    let first = way.v4.or(way.v6);
    let of = |names: [&'static str; 2], exit: Option<Exit>| {
        let gateway = exit.and_then(|exit| exit.gateway);
        [
            exit.map(|exit| (names[0], exit.source.to_string())),
            gateway.map(|gateway| (names[1], gateway.to_string())),
        ]
    };
    let exits = [
        of(["PINGU_SOURCE", "PINGU_GATEWAY"], first),
        of(["PINGU_SOURCE_V6", "PINGU_GATEWAY_V6"], way.v6),
    ];
    all.extend(exits.into_iter().flatten().flatten());
    let owned = |(name, value): (&str, String)| (name.to_owned(), value);
    all.into_iter().map(owned).collect()
}

fn text_of(kept: &[u8]) -> String {
    let text = String::from_utf8_lossy(kept);
    text.chars()
        .filter(|c| !c.is_control() || *c == '\n')
        .collect()
}
