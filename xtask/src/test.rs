//! All tests: the pure ones as the user, those that need a kernel as root, against the release binary.

mod artifact;
mod failures;
mod outcome;
mod tally;

use anyhow::{Context, Result, bail};

use crate::{
    build_ebpf,
    invocation::{self, Invocation},
    release,
    setup::{self, Need},
    steps::Steps,
    test::{
        artifact::{TestProgram, test_programs},
        failures::Failure,
        outcome::Outcome,
        tally::Tally,
    },
    workspace::{Workspace, cargo},
};

/// Needs neither root nor the eBPF object.
const PURE_PACKAGES: [&str; 3] = ["pingu", "pingu-common", "xtask"];

/// Needs root: builds networks of namespaces.
const KERNEL_PACKAGE: &str = "pingu-tests";

/// Every test that the arguments select, whatever becomes of the others.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    setup::require(workspace, &[Need::LabTools, Need::NetworkManager])?;
    invocation::require_root("test")?;
    build_ebpf::run(workspace, true)?;
    release::build(workspace, &["pingu"])?;
    let programs = build_kernel_tests(workspace)?;

    let mut steps = Steps::default();
    let mut results = Vec::new();
    steps.take("pure tests", || {
        let outcome = Outcome::of(&pure_tests(workspace, arguments))?;
        results.push(("pure tests".to_owned(), outcome));
        succeeded(&results)
    });
    for program in &programs {
        steps.take(&program.name(), || {
            let mut outcome = Outcome::of(&kernel_tests(workspace, program, arguments))?;
            outcome.look_again(|name| {
                println!("== {name} again, alone");
                let alone = kernel_tests(workspace, program, &[]);
                Outcome::of(&alone.argument("--exact").argument(name))
            })?;
            results.push((program.name(), outcome));
            succeeded(&results)
        });
    }
    let ran = summarise(&results);
    steps.finish()?;
    if ran == 0 {
        bail!("no test is called {}", arguments.join(" or "));
    }
    Ok(())
}

fn succeeded(results: &[(String, Outcome)]) -> Result<()> {
    if results
        .last()
        .is_some_and(|(_, outcome)| !outcome.succeeded)
    {
        bail!("see above");
    }
    Ok(())
}

fn build_kernel_tests(workspace: &Workspace) -> Result<Vec<TestProgram>> {
    let mut messages = String::new();
    let succeeded = Invocation::new(cargo())
        .arguments(["test", "--no-run", "--locked", "--package", KERNEL_PACKAGE])
        .argument("--message-format=json-render-diagnostics")
        .directory(&workspace.root)
        .run_seen(|line| {
            messages.push_str(line);
            messages.push('\n');
        })?;
    if !succeeded {
        bail!("the tests of {KERNEL_PACKAGE} cannot be built");
    }
    let programs = test_programs(&messages).context("cargo's messages are not as they were")?;
    if programs.is_empty() {
        bail!("cargo built no tests of {KERNEL_PACKAGE}");
    }
    Ok(programs)
}

fn pure_tests(workspace: &Workspace, arguments: &[String]) -> Invocation {
    Invocation::new(cargo())
        .arguments(["test", "--locked", "--no-fail-fast"])
        .arguments(
            PURE_PACKAGES
                .iter()
                .flat_map(|package| ["--package", package]),
        )
        .argument("--")
        .arguments(arguments)
        .directory(&workspace.root)
}

/// The programs run one after the other: within one, the tests that measure time keep the others away, beyond it they cannot.
fn kernel_tests(workspace: &Workspace, program: &TestProgram, arguments: &[String]) -> Invocation {
    Invocation::new(&program.executable)
        .arguments(arguments)
        .variable("PINGU_BIN", workspace.release_binary("pingu"))
        .variable("RUST_BACKTRACE", "1")
        .directory(workspace.root.join("tests"))
        .privileged()
}

/// Prints why tests failed, a line for each program, and one for all; gives how many tests ran.
fn summarise(results: &[(String, Outcome)]) -> u32 {
    println!("== summary");
    for (name, outcome) in results {
        tell(name, "failed", &outcome.failures);
        tell(
            name,
            "failed beside others and passed alone",
            &outcome.unsteady,
        );
    }
    let mut total = Tally::default();
    for (name, outcome) in results {
        let tally = outcome.tally;
        if tally != Tally::default() {
            let seconds = outcome.elapsed.as_secs_f64();
            println!("{name:<28}{tally}, {seconds:.1} s");
        }
        total = total + tally;
    }
    println!("{total}");
    total.passed + total.failed
}

fn tell(program: &str, how: &str, failures: &[Failure]) {
    for failure in failures {
        println!("{program}: {} {how}:", failure.name);
        for line in &failure.words {
            println!("    {line}");
        }
    }
}
