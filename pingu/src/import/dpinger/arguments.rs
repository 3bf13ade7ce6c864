//! Where dpinger is called in a file, and with which options.

use std::{collections::BTreeMap, time::Duration};

use crate::import::{
    findings::{Findings, quote},
    shell::{self, Word},
};

/// Options with a value, and those without.
const WITH_VALUE: &str = "BsltrdoADHLCiup";
const FLAGS: &str = "fRSP";

/// Words that may stand before a command.
const BEFORE: [&str; 14] = [
    "sudo",
    "exec",
    "nohup",
    "env",
    "setsid",
    "command",
    "nice",
    "ionice",
    "chrt",
    "daemon",
    "procd_set_param",
    "start-stop-daemon",
    "doas",
    "taskset",
];

/// Commands that are about dpinger, or anything, and do not run it.
const ABOUT: [&str; 14] = [
    "echo", "printf", "logger", "test", "[", "[[", "ls", "cp", "rm", "grep", "pkill", "pgrep",
    "kill", "killall",
];

/// A call: its arguments.
pub(super) struct Call {
    pub(super) line: usize,
    arguments: Vec<Word>,
}

/// What a call says.
pub(super) struct Monitor {
    pub(super) line: usize,
    pub(super) target: String,
    pub(super) target_line: usize,
    options: BTreeMap<char, (String, usize)>,
}

/// All calls of a file; the second value says by line what cannot be read.
pub(super) fn calls(source: &str) -> (Vec<Call>, Vec<(usize, String)>) {
    let is_unit = source.lines().any(|line| line.trim() == "[Service]");
    let (commands, errors) = if is_unit {
        shell::commands(&commands_of_unit(source))
    } else {
        shell::commands(source)
    };
    let calls = commands
        .into_iter()
        .filter(|command| !command.is_block)
        .filter_map(|command| {
            let place = place(&command.words)?;
            let mut arguments = command.words;
            arguments.drain(..=place);
            if arguments.first().is_some_and(|word| word.text == "--") {
                arguments.remove(0);
            }
            let line = command.line;
            Some(Call { line, arguments })
        });
    (calls.collect(), errors)
}

/// The commands of a systemd unit, on the lines where they are.
fn commands_of_unit(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut goes_on = false;
    for line in source.lines() {
        if goes_on || line.trim_start().starts_with("Exec") {
            text.push_str(&line.replace("%%", "%"));
            goes_on = line.ends_with('\\');
        }
        text.push('\n');
    }
    text
}

/// The place of dpinger's name, if it is what the command runs.
fn place(words: &[Word]) -> Option<usize> {
    // A line that `ps` printed begins with other things, and has a path.
    let mut is_direct = true;
    for (place, word) in words.iter().enumerate() {
        let written = match word.assignment() {
            // A unit's `ExecStart=-/usr/bin/dpinger`.
            Some((name, value)) if name.starts_with("Exec") => {
                value.trim_start_matches(['-', '@', '+', '!', ':'])
            }
            _ => &word.text,
        };
        let last = written.rsplit('/').next().unwrap_or_default();
        if last == "dpinger" && (is_direct || is_listed(written, &words[place + 1..])) {
            return Some(place);
        }
        is_direct &= word.assignment().is_some()
            || BEFORE.contains(&last)
            || written.starts_with('-')
            || written.bytes().all(|byte| byte.is_ascii_digit());
        if ABOUT.contains(&last) {
            return None;
        }
    }
    None
}

/// Whether a path is that of a running dpinger: one of its options follows.
fn is_listed(path: &str, arguments: &[Word]) -> bool {
    let first = arguments
        .first()
        .and_then(|word| word.text.strip_prefix('-'));
    let is_own = |option: char| WITH_VALUE.contains(option) || FLAGS.contains(option);
    path.starts_with('/')
        && first
            .and_then(|rest| rest.chars().next())
            .is_some_and(is_own)
}

/// Reads the arguments as getopt does, wherever the target stands; none with an error said.
pub(super) fn read(call: &Call, findings: &mut Findings) -> Option<Monitor> {
    let mut options = BTreeMap::new();
    let mut targets: Vec<&Word> = Vec::new();
    let mut good = true;
    let mut words = call.arguments.iter();
    let mut only_targets = false;
    while let Some(word) = words.next() {
        if only_targets || !word.text.starts_with('-') || word.text == "-" {
            targets.push(word);
            continue;
        }
        if word.text == "--" {
            only_targets = true;
            continue;
        }
        let mut rest = word.text[1..].chars();
        while let Some(option) = rest.next() {
            if FLAGS.contains(option) {
                options.insert(option, (String::new(), word.line));
                continue;
            }
            if !WITH_VALUE.contains(option) {
                findings.error(
                    word.line,
                    format!(
                        "{}: dpinger has no such option",
                        quote(&format!("-{option}"))
                    ),
                );
                good = false;
                break;
            }
            let attached: String = rest.by_ref().collect();
            let value = if attached.is_empty() {
                words.next().map(|next| (next.text.clone(), next))
            } else {
                Some((attached, word))
            };
            match value {
                None => {
                    findings.error(word.line, format!("`-{option}` has no value"));
                    good = false;
                }
                Some((
                    _,
                    Word {
                        unknown: Some(why),
                        line,
                        ..
                    },
                )) => {
                    findings.error(
                        *line,
                        format!("`-{option}` must be a plain text, not {why}"),
                    );
                    good = false;
                }
                Some((text, from)) => {
                    options.insert(option, (text, from.line));
                }
            }
        }
    }
    let [target] = targets[..] else {
        let message = format!("dpinger has one dest_addr, and here are {}", targets.len());
        findings.error(call.line, message);
        return None;
    };
    if let Some(why) = &target.unknown {
        findings.error(
            target.line,
            format!("`dest_addr` must be a plain text, not {why}"),
        );
        return None;
    }
    good.then(|| Monitor {
        line: call.line,
        target: target.text.clone(),
        target_line: target.line,
        options,
    })
}

impl Monitor {
    /// The value of an option, and its line.
    pub(super) fn text(&self, option: char) -> Option<(&str, usize)> {
        let (value, line) = self.options.get(&option)?;
        Some((value, *line))
    }

    pub(super) fn line_of(&self, option: char) -> Option<usize> {
        self.text(option).map(|(_, line)| line)
    }

    /// A time: milliseconds, or with `m` for them or `s` for seconds.
    pub(super) fn time(
        &self,
        option: char,
        default: Duration,
        findings: &mut Findings,
    ) -> (Duration, Option<usize>) {
        let Some((value, line)) = self.text(option) else {
            return (default, None);
        };
        let (digits, unit_ms) = match value.strip_suffix('s') {
            Some(digits) => (digits, 1000),
            None => (value.strip_suffix('m').unwrap_or(value), 1),
        };
        let number = if digits.bytes().all(|byte| byte.is_ascii_digit()) {
            digits.parse::<u32>().ok()
        } else {
            None
        };
        match number {
            Some(number) if number > 0 => (
                Duration::from_millis(u64::from(number) * unit_ms),
                Some(line),
            ),
            _ => {
                let allowed = "a time from 1 in milliseconds, or with the unit m (those) or s";
                findings.wrong(line, &format!("-{option}"), allowed, &quote(value));
                (default, None)
            }
        }
    }

    /// A number, which may have a % behind it.
    pub(super) fn number(
        &self,
        option: char,
        default: u32,
        findings: &mut Findings,
    ) -> (u32, Option<usize>) {
        let Some((value, line)) = self.text(option) else {
            return (default, None);
        };
        let is_share = option == 'L';
        let digits = if is_share {
            value.strip_suffix('%').unwrap_or(value)
        } else {
            value
        };
        match digits.parse::<u32>() {
            Ok(number) if !is_share || (1..=100).contains(&number) => (number, Some(line)),
            _ => {
                let allowed = if is_share {
                    "a percentage from 1 to 100"
                } else {
                    "a whole number"
                };
                findings.wrong(line, &format!("-{option}"), allowed, &quote(value));
                (default, None)
            }
        }
    }
}
