//! Which test programs cargo built, from the messages that it writes for machines.

use std::path::PathBuf;

use serde::Deserialize;

/// A program with tests in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TestProgram {
    target: String,
    is_integration_test: bool,
    pub(crate) executable: PathBuf,
}

impl TestProgram {
    /// As people call it.
    pub(crate) fn name(&self) -> String {
        if self.is_integration_test {
            format!("{} tests", self.target)
        } else {
            format!("unit tests of {}", self.target)
        }
    }
}

/// A line of cargo's; what else is in it does not matter here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// The programs with tests: unit tests first, for they are quick.
pub(crate) fn test_programs(messages: &str) -> serde_json::Result<Vec<TestProgram>> {
    let mut programs = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        programs.extend(test_program(serde_json::from_str(line)?));
    }
    programs.sort_by(|a, b| {
        (a.is_integration_test, &a.target).cmp(&(b.is_integration_test, &b.target))
    });
    Ok(programs)
}

fn test_program(message: Message) -> Option<TestProgram> {
    if message.reason != "compiler-artifact" || !message.profile?.test {
        return None;
    }
    let target = message.target?;
    Some(TestProgram {
        is_integration_test: target.kind.iter().any(|kind| kind == "test"),
        target: target.name,
        executable: message.executable?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_with_tests_are_found_among_other_artifacts() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"name":"libc","kind":["lib"]},"profile":{"test":false},"executable":null}
{"reason":"build-script-executed","package_id":"libc"}
{"reason":"compiler-artifact","target":{"name":"lab","kind":["test"]},"profile":{"test":true},"executable":"/t/lab"}
{"reason":"compiler-artifact","target":{"name":"demo","kind":["bin"]},"profile":{"test":false},"executable":"/t/demo"}
{"reason":"compiler-artifact","target":{"name":"demo","kind":["bin"]},"profile":{"test":true},"executable":"/t/demo-1"}
{"reason":"build-finished","success":true}
"#;
        let programs = test_programs(messages).unwrap();
        let found: Vec<_> = programs
            .iter()
            .map(|program| (program.name(), program.executable.to_str().unwrap()))
            .collect();
        assert_eq!(
            found,
            [
                ("unit tests of demo".to_owned(), "/t/demo-1"),
                ("lab tests".to_owned(), "/t/lab")
            ]
        );
    }

    #[test]
    fn a_message_that_is_cut_off_is_an_error() {
        assert!(test_programs("{\"reason\":\"compiler-art").is_err());
    }
}
