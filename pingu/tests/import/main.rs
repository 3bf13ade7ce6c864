//! Configurations of other systems, and what they become.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

mod dpinger;
mod multigateway;
mod mutated;
mod mwan3;
mod py_pingu;
mod recognised;
mod two_gateway;
mod verb;

use std::time::Duration;

use pingu::{
    config::{BurstConfig, Config, ProbeMode, UplinkConfig},
    import::{Finding, Imported, Kind, Original, Refusal, Severity, import},
};

/// Imports a text whose kind is to be recognised.
fn imported(text: &str) -> Imported {
    let imported =
        import(original(text), None).unwrap_or_else(|refusal| panic!("{refusal}\n{text}"));
    let (again, _) =
        Config::parse(&imported.toml, "again").unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(again, imported.config, "the text says what was loaded");
    imported
}

fn refused(text: &str, kind: Kind) -> Refusal {
    match import(original(text), Some(kind)) {
        Ok(imported) => panic!("it is accepted:\n{text}\n{}", imported.toml),
        Err(refusal) => refusal,
    }
}

fn original(text: &str) -> Original<'_> {
    Original {
        file: "original",
        text,
        network: None,
    }
}

fn uplink<'a>(config: &'a Config, name: &str) -> &'a UplinkConfig {
    let found = config.uplinks.iter().find(|uplink| uplink.name == name);
    found.unwrap_or_else(|| panic!("no uplink {name}"))
}

fn burst(uplink: &UplinkConfig) -> BurstConfig {
    match uplink.probe.mode {
        ProbeMode::Burst(burst) => burst,
        ProbeMode::Rolling(_) => panic!("{} is probed one by one", uplink.name),
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Whether something of this severity is said of a line, with these words in it.
fn says(list: &[Finding], severity: Severity, line: usize, words: &str) -> bool {
    list.iter().any(|finding| {
        finding.severity == severity && finding.line == line && finding.message.contains(words)
    })
}

/// The line of the first error that has these words.
#[track_caller]
fn error_line(refusal: &Refusal, words: &str) -> usize {
    let found = refusal
        .list
        .iter()
        .find(|finding| finding.severity == Severity::Error && finding.message.contains(words));
    found
        .unwrap_or_else(|| panic!("nothing about {words:?} in:\n{refusal}"))
        .line
}
