//! The multigateway failover's config.py.

mod provider;

use std::{collections::BTreeMap, time::Duration};

use super::{
    draft::{Draft, Section, address, duration, seconds, text, texts},
    findings::{Findings, quote},
    python::{self, Argument, Expression, ExpressionKind, StatementKind},
};

/// Where the installer puts the files, and the service is started.
const DIRECTORY: &str = "/etc/failover";

/// How long its ping waits.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The keys, and what the documentation gives them.
const SCALARS: [(&str, &str); 6] = [
    ("CHECK_INTERVAL", "5"),
    ("START_METRIC", "100"),
    ("MAX_STORED_TEST_RESULT_COUNT", "50"),
    ("MAX_FAILED_CHECKS", "50"),
    ("MIN_CONSECUTIVE_SUCCEEDED_CHECKS", "1"),
    ("STICKY_PROVIDER_FILENAME", "sticky.provider"),
];

const LISTS: [&str; 2] = ["providers", "test_cases"];

/// Of the scripts themselves.
const INTERNAL: [&str; 2] = ["result_set", "DEFAULT_SHELL_OPTIONS"];

/// What the file sets.
struct Settings {
    values: BTreeMap<String, Expression>,
}

/// A value of a key that is one number or text, and its line.
struct Scalar {
    text: String,
    line: Option<usize>,
}

/// Reads the file.
pub(super) fn convert(source: &str, findings: &mut Findings) -> Draft {
    let settings = settings(source, findings);
    let mut draft = Draft::default();
    let mut top = Section::new("", 1, "");
    sticky(&settings, &mut top, findings);
    draft.sections.push(top);
    let [interval, metric, window, failed, consecutive] = [
        "CHECK_INTERVAL",
        "START_METRIC",
        "MAX_STORED_TEST_RESULT_COUNT",
        "MAX_FAILED_CHECKS",
        "MIN_CONSECUTIVE_SUCCEEDED_CHECKS",
    ]
    .map(|key| (key, number(&settings, key, findings)));
    draft.sections.push(probe(&settings, interval, findings));
    draft.sections.push(health([window, failed, consecutive]));
    let mut group = Section::new(
        "[[group]]",
        metric.1.line.unwrap_or(1),
        "The first provider that is reliable has the first metric, the others follow in their order. With none, it is the first. The \
         scripts leave their own defaults there: once pingu runs, take them out one by one, `ip route del default metric NUMBER`.",
    );
    group.own("name", text("wan"), "");
    group.own("mode", text("ordered"), "");
    put(&mut group, "start_metric", &metric);
    group.own("when_all_down", text("first"), "");
    draft.sections.push(group);
    match settings
        .values
        .get("providers")
        .map(|value| (value, &value.kind))
    {
        Some((value, ExpressionKind::List(items))) => {
            if items.is_empty() {
                findings.error(
                    value.line,
                    "`providers` has none, and one at least is needed",
                );
            }
            for (index, item) in items.iter().enumerate() {
                draft
                    .sections
                    .extend(provider::provider(index, item, findings));
            }
        }
        Some((value, _)) => {
            let allowed = "a list of Provider(...), written out";
            findings.wrong(value.line, "providers", allowed, &value.found());
        }
        None => findings.error(1, "`providers` is needed: a list of Provider(...)"),
    }
    draft
}

/// What is set; everything else is listed.
fn settings(source: &str, findings: &mut Findings) -> Settings {
    let (statements, errors) = python::parse(source);
    for (line, message) in errors {
        findings.error(line, message);
    }
    let mut values = BTreeMap::new();
    for statement in statements {
        let line = statement.line;
        match statement.kind {
            StatementKind::Assignment { name, value } => {
                let name = name.as_str();
                if INTERNAL.contains(&name) {
                    findings.lost(
                        line,
                        format!("`{name}`: the scripts' own, pingu needs nothing like it"),
                    );
                } else if !LISTS.contains(&name) && !SCALARS.iter().any(|(key, _)| *key == name) {
                    findings.lost(
                        line,
                        format!(
                            "`{}`: no key of config.py",
                            super::findings::printable(name)
                        ),
                    );
                } else if let Some(before) = values.insert(name.to_owned(), value) {
                    let before: Expression = before;
                    findings.differs(
                        before.line,
                        format!("`{name}` is set again in line {line}, which counts"),
                    );
                }
            }
            StatementKind::Other { beginning, name } if LISTS.contains(&name.as_str()) => {
                let message = format!(
                    "`{name}` must be set to a list that is written out, not changed: {beginning}"
                );
                findings.error(line, message);
            }
            StatementKind::Other { beginning, .. } => {
                findings.lost(line, format!("{}: nothing is run", quote(&beginning)));
            }
        }
    }
    Settings { values }
}

/// A number, or what the documentation says where none is given, or it would have to be run.
fn number(settings: &Settings, key: &str, findings: &mut Findings) -> Scalar {
    let default = SCALARS.iter().find(|(known, _)| *known == key);
    let default = default.map_or("", |(_, default)| default);
    let taken = Scalar {
        text: default.to_owned(),
        line: None,
    };
    let Some(value) = settings.values.get(key) else {
        findings.differs(
            1,
            format!("`{key}` is not given: taken for {default}, as documented"),
        );
        return taken;
    };
    match &value.kind {
        ExpressionKind::Number(number) => Scalar {
            text: number.clone(),
            line: Some(value.line),
        },
        ExpressionKind::Unknown(_) | ExpressionKind::Call { .. } => {
            let message = format!(
                "`{key}` is {}: taken for {default}, as documented",
                value.found()
            );
            findings.lost(value.line, message);
            taken
        }
        _ => {
            findings.wrong(value.line, key, "a number", &value.found());
            taken
        }
    }
}

fn put(section: &mut Section, key: &'static str, (original, scalar): &(&str, Scalar)) {
    match scalar.line {
        Some(line) => section.set(key, &scalar.text, line, original),
        None => section.own(key, &scalar.text, ""),
    }
}

fn sticky(settings: &Settings, top: &mut Section, findings: &mut Findings) {
    const KEY: &str = "STICKY_PROVIDER_FILENAME";
    let Some(value) = settings.values.get(KEY) else {
        let path = format!("{DIRECTORY}/sticky.provider");
        top.own(
            "sticky_file",
            text(&path),
            "Where the scripts have it, if nothing else is said.",
        );
        return;
    };
    match &value.kind {
        ExpressionKind::Text(file) if file.starts_with('/') => {
            top.set("sticky_file", text(file), value.line, KEY);
        }
        ExpressionKind::Text(file) if file.is_empty() => {
            findings.lost(
                value.line,
                format!("`{KEY}` is empty: there is no such file"),
            );
        }
        ExpressionKind::Text(file) => {
            let path = format!("{DIRECTORY}/{file}");
            let comment = "Beside the scripts, where their installer puts them.";
            top.set_with("sticky_file", text(&path), (value.line, KEY), comment);
        }
        ExpressionKind::Unknown(_) | ExpressionKind::Call { .. } => {
            findings.lost(value.line, format!("`{KEY}` is {}", value.found()));
        }
        _ => findings.wrong(value.line, KEY, "a text in quotes", &value.found()),
    }
}

fn probe(settings: &Settings, (key, interval): (&str, Scalar), findings: &mut Findings) -> Section {
    let mut section = Section::new("[probe]", interval.line.unwrap_or(1), "");
    let (targets, line) = targets(settings, findings);
    if !targets.is_empty() {
        section.set("targets", texts(targets), line, "test_cases");
    }
    let time = interval.text.parse().ok().and_then(seconds);
    match (time, interval.line) {
        (Some(time), Some(line)) => section.set("period", duration(time), line, key),
        (Some(time), None) => section.own("period", duration(time), ""),
        (None, line) => {
            findings.wrong(
                line.unwrap_or(1),
                key,
                "a number of seconds",
                &interval.text,
            );
        }
    }
    section.own(
        "count",
        1,
        "One ping at a time, which is lost after a second.",
    );
    section.own("timeout", duration(TIMEOUT), "");
    section
}

/// The addresses that are pinged.
fn targets(settings: &Settings, findings: &mut Findings) -> (Vec<std::net::IpAddr>, usize) {
    const KEY: &str = "test_cases";
    let mut targets = Vec::new();
    let Some(value) = settings.values.get(KEY) else {
        findings.error(
            1,
            format!("`{KEY}` is needed: a list of TestScenarioPing(...)"),
        );
        return (targets, 1);
    };
    let ExpressionKind::List(items) = &value.kind else {
        let allowed = "a list of TestScenarioPing(...), written out";
        findings.wrong(value.line, KEY, allowed, &value.found());
        return (targets, value.line);
    };
    let before = findings.has_errors();
    for item in items {
        let ExpressionKind::Call { name, arguments } = &item.kind else {
            findings.lost(item.line, format!("a test case: {}", item.found()));
            continue;
        };
        if name != "TestScenarioPing" {
            let message = format!(
                "the test case {}: pingu's `[[uplink.check]]` has kinds tcp, http, https, dns, exec and mtu",
                item.found()
            );
            findings.lost(item.line, message);
            continue;
        }
        let is_target =
            |argument: &&Argument| argument.name.as_deref().is_none_or(|n| n == "target");
        let only = arguments.first().filter(|_| arguments.len() == 1);
        let target = arguments.iter().find(is_target).or(only);
        let target = target.map(|argument| &argument.value);
        let found = match target.map(|target| &target.kind) {
            Some(ExpressionKind::Text(text)) => address(text),
            _ => None,
        };
        match found {
            Some(found) if targets.contains(&found) => {
                findings.differs(
                    item.line,
                    format!("{found} is pinged already: once is enough"),
                );
            }
            Some(found) => targets.push(found),
            None => {
                let allowed = "the address of a host, in quotes (names are not resolved)";
                let found = target.map_or_else(|| "nothing".to_owned(), Expression::found);
                findings.wrong(item.line, "TestScenarioPing", allowed, &found);
            }
        }
    }
    if targets.is_empty() && (before || !findings.has_errors()) {
        findings.error(
            value.line,
            format!("`{KEY}` has no ping, and one at least is needed"),
        );
    }
    (targets, value.line)
}

fn health([window, failed, consecutive]: [(&str, Scalar); 3]) -> Section {
    let mut section = Section::new(
        "[health]",
        window.1.line.unwrap_or(1),
        "Reliable is who failed at most `max_failed` of the last `window` checks and whose last ones succeeded, more than \
         `min_consecutive` of them. Here that is counted for each target; the scripts count rounds in which all succeeded.",
    );
    put(&mut section, "window", &window);
    put(&mut section, "max_failed", &failed);
    put(&mut section, "min_consecutive", &consecutive);
    section.own(
        "quorum",
        text("all"),
        "All test cases have to succeed. Unlike the scripts, pingu leaves out a target that fails over every uplink.",
    );
    section.own("max_lost", 0, "");
    section.own(
        "max_delay",
        duration(TIMEOUT),
        "Delays are not judged: what is slower is lost.",
    );
    section.own(
        "handshakes",
        text("off"),
        "Pings alone decide. \"report\", pingu's default, spares an uplink whose pings are lost while TCP works.",
    );
    section
}
