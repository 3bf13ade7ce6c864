//! dpinger's command line, in a file that has one or more: a script, a unit of systemd, or the line alone.

mod arguments;

use std::{net::IpAddr, time::Duration};

use super::{
    draft::{Draft, Section, address, duration, text, texts},
    findings::{Findings, quote},
    shell,
};
use arguments::Monitor;

/// What dpinger takes for what is not given.
const SEND: Duration = Duration::from_millis(500);
const PERIOD: Duration = Duration::from_secs(60);
const ALERT: Duration = Duration::from_secs(1);
/// An answer is waited for so many send intervals.
const LOSS_INTERVALS: u32 = 4;
/// An alarm is kept for so many alert intervals.
const HOLD_INTERVALS: u32 = 10;

/// Nobody else's routes are behind this: those of NetworkManager without a connection begin at 20,000.
const METRIC: u32 = 50_000;

/// The least payload that pingu's matching needs, its longest limit of delay, and its longest row.
const SIZE_MIN: u32 = 24;
const MAX_DELAY: Duration = Duration::from_secs(60);
const FALL_MAX: u128 = 1000;

/// Options that have no counterpart, and why.
const LOST: [(char, &str); 8] = [
    ('f', "pingu always stays in the foreground"),
    ('R', "`pingu status` tells the figures"),
    (
        'S',
        "pingu's log goes to standard error, which systemd keeps",
    ),
    ('P', "pingu's probes are stamped in the kernel"),
    ('r', "`pingu status --json` tells the figures at any time"),
    ('o', "`pingu status --json` tells the figures at any time"),
    ('u', "`pingu status --json` asks the daemon's own socket"),
    ('p', "pingu has no such file; systemd knows its process"),
];

/// The line of the first one.
pub(super) fn first_line(source: &str) -> Option<usize> {
    let (calls, _) = arguments::calls(source);
    calls.first().map(|call| call.line)
}

/// Reads the file.
pub(super) fn convert(source: &str, findings: &mut Findings) -> Draft {
    let (calls, errors) = arguments::calls(source);
    for (line, message) in errors {
        findings.error(line, message);
    }
    let mut uplinks: Vec<Uplink> = Vec::new();
    if calls.is_empty() {
        findings.error(1, "there is no command line of dpinger");
    }
    for call in calls {
        if let Some(monitor) = arguments::read(&call, findings) {
            take(&mut uplinks, monitor, findings);
        }
    }
    let mut draft = Draft::default();
    let Some(first) = uplinks.first() else {
        return draft;
    };
    let line = first.monitor.line;
    findings.differs(
        line,
        "dpinger only watches; pingu also keeps default routes, here behind those of all others: lower `metric` to have it choose the way",
    );
    let mut top = Section::new("", line, "");
    top.own(
        "flush_connections",
        false,
        "dpinger leaves connections alone. With true, those of an uplink that dies are routed anew.",
    );
    draft.sections.push(top);
    let mut probe = Section::new("[probe]", line, "");
    probe.own(
        "mode",
        text("rolling"),
        "One request after the other, as dpinger sends them.",
    );
    draft.sections.push(probe);
    let mut health = Section::new("[health]", line, "");
    health.own("rise", 1, "");
    health.own(
        "handshakes",
        text("off"),
        "dpinger judges by pings alone. \"report\", pingu's default, spares an uplink whose pings are lost while TCP works.",
    );
    draft.sections.push(health);
    let mut hooks = Vec::new();
    for (metric, uplink) in (METRIC..).zip(&uplinks) {
        draft.sections.push(uplink.section(metric, findings));
        hooks.extend(uplink.hook(findings));
        uplink.listed(findings);
    }
    draft.sections.extend(hooks);
    draft
}

/// One way out, which one or several dpingers watch.
struct Uplink {
    name: String,
    interface: String,
    targets: Vec<(IpAddr, usize)>,
    monitor: Monitor,
}

/// Makes an uplink of a monitor, or adds its target to one that has the same own address.
fn take(uplinks: &mut Vec<Uplink>, monitor: Monitor, findings: &mut Findings) {
    let (plain, zone) = match monitor.target.split_once('%') {
        Some((plain, zone)) => (plain, Some(zone.to_owned())),
        None => (monitor.target.as_str(), None),
    };
    let Some(target) = address(plain) else {
        let allowed = "the address of a host, as dpinger asks for";
        return findings.wrong(
            monitor.target_line,
            "dest_addr",
            allowed,
            &quote(&monitor.target),
        );
    };
    let target = (target, monitor.target_line);
    let bind = monitor.text('B').map(|(bind, _)| bind.to_owned());
    let same = |other: &&mut Uplink| {
        bind.is_some() && other.monitor.text('B').map(|(b, _)| b) == bind.as_deref()
    };
    if let Some(other) = uplinks.iter_mut().find(same) {
        if other.targets.iter().all(|(known, _)| *known != target.0) {
            other.targets.push(target);
        }
        let message = format!(
            "it has the same -B as the one of line {}: its target is taken for another one of that uplink, whose limits count",
            other.monitor.line
        );
        return findings.differs(monitor.line, message);
    }
    let number = uplinks.len() + 1;
    let name = match monitor.text('i') {
        Some((name, _)) if !name.trim().is_empty() => name.trim().to_owned(),
        _ => format!("uplink-{number}"),
    };
    let is_taken = uplinks.iter().any(|other| other.name == name);
    let name = if is_taken {
        format!("{name}-{number}")
    } else {
        name
    };
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let interface = zone.clone().unwrap_or_else(|| {
        let message = format!(
            "dpinger does not tell the interface: put it in the place of `interface` in uplink {}",
            quote(&name)
        );
        findings.differs(monitor.line, message);
        name.chars()
            .map(|c| if is_good(c) { c } else { '-' })
            .collect()
    });
    uplinks.push(Uplink {
        name,
        interface,
        targets: vec![target],
        monitor,
    });
}

/// A key with the value of an option, or with what dpinger takes.
fn put(
    section: &mut Section,
    key: &'static str,
    value: impl ToString,
    option: char,
    line: Option<usize>,
) {
    match line {
        Some(line) => section.set(key, value, line, &format!("-{option}")),
        None => section.own(key, value, ""),
    }
}

impl Uplink {
    fn section(&self, metric: u32, findings: &mut Findings) -> Section {
        let monitor = &self.monitor;
        let mut section = Section::new("[[uplink]]", monitor.line, "");
        let name_line = monitor.text('i').map_or(monitor.line, |(_, line)| line);
        section.set("name", text(&self.name), name_line, "-i");
        section.set_with(
            "interface",
            text(&self.interface),
            (monitor.line, "dest_addr"),
            "The interface that this leaves by, which dpinger's command line tells only of a link-local address.",
        );
        section.own(
            "metric",
            metric,
            "Behind the routes of all others, so that these go on to decide.",
        );
        if let Some((bind, line)) = monitor.text('B') {
            let plain = bind.split('%').next().unwrap_or_default();
            section.set("source", text(plain), line, "-B");
        }
        let targets: Vec<IpAddr> = self.targets.iter().map(|(target, _)| *target).collect();
        section.set("targets", texts(targets), monitor.target_line, "dest_addr");
        self.pace(&mut section, findings);
        let (hold, hold_line) = monitor.time('H', Duration::ZERO, findings);
        let (alert, alert_line) = monitor.time('A', ALERT, findings);
        let (hold, option, line) = match hold_line {
            Some(line) => (hold, 'H', Some(line)),
            None => (alert * HOLD_INTERVALS, 'A', alert_line),
        };
        put(&mut section, "hold_down", duration(hold), option, line);
        section
    }

    /// How it is probed, and what is too much.
    fn pace(&self, section: &mut Section, findings: &mut Findings) {
        let monitor = &self.monitor;
        let (interval, interval_line) = monitor.time('s', SEND, findings);
        let (timeout, timeout_line) =
            monitor.time('l', interval.saturating_mul(LOSS_INTERVALS), findings);
        let (window, window_line) = monitor.time('t', PERIOD, findings);
        put(section, "interval", duration(interval), 's', interval_line);
        put(section, "timeout", duration(timeout), 'l', timeout_line);
        put(section, "window", duration(window), 't', window_line);
        let (size, size_line) = monitor.number('d', 0, findings);
        put(section, "size", size.max(SIZE_MIN), 'd', size_line);
        match monitor.time('D', Duration::ZERO, findings) {
            (limit, Some(line)) => section.set("max_delay", duration(limit), line, "-D"),
            (_, None) => section.own(
                "max_delay",
                duration(MAX_DELAY),
                "Delay is not judged: there is no -D.",
            ),
        }
        let (loss, loss_line) = monitor.number('L', 100, findings);
        match loss_line {
            Some(line) => section.set("max_loss", loss, line, "-L"),
            None => section.own("max_loss", 100, "There is no -L."),
        }
        let probes = window.as_nanos() / interval.as_nanos().max(1);
        let over = probes * u128::from(loss) / 100 + 1;
        let in_window = window.saturating_sub(timeout).as_nanos() / interval.as_nanos().max(1);
        section.own(
            "fall",
            over.min(in_window).clamp(1, FALL_MAX),
            "So many misses in a row are as much as `max_loss` allows in the window. 3, pingu's default, tells a dead line at once.",
        );
    }

    /// The alert command.
    fn hook(&self, findings: &mut Findings) -> Option<Section> {
        let (command, line) = self.monitor.text('C')?;
        let mut hook = Section::new(
            "[[hook]]",
            line,
            "dpinger's alert command. dpinger adds the target, 1 or 0, and its figures; pingu tells these in PINGU_* variables and as \
             JSON on standard input.",
        );
        hook.own("on", texts(["down", "up"]), "");
        hook.set("command", texts(words(command)), line, "-C");
        hook.own("uplinks", texts([&self.name]), "");
        let message = "`-C`: it is run without dpinger's arguments (target, alarm, delay, deviation, loss); PINGU_* variables tell them";
        findings.differs(line, message);
        Some(hook)
    }

    fn listed(&self, findings: &mut Findings) {
        for (option, why) in LOST {
            if let Some(line) = self.monitor.line_of(option) {
                findings.lost(line, format!("`-{option}`: {why}"));
            }
        }
    }
}

/// A command as words, if it is one that needs no shell; else the shell's.
fn words(command: &str) -> Vec<String> {
    let (commands, errors) = shell::commands(command);
    if let ([one], true) = (&commands[..], errors.is_empty())
        && !one.is_block
        && !one.is_inside
        && one.words.iter().all(|word| word.unknown.is_none())
        && one
            .words
            .first()
            .is_some_and(|word| word.text.starts_with('/'))
        && !command.contains(['<', '>', '*', '?', '[', '~', '&', '|', ';', '\n'])
    {
        return one.words.iter().map(|word| word.text.clone()).collect();
    }
    ["/bin/sh", "-c", command].map(str::to_owned).to_vec()
}
