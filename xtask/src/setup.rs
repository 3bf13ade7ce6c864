//! Finds what the other verbs need, or installs it. Says what it does before it does it, and does nothing where nothing is
//! missing. What it may not do, it prints, ready to be run by somebody who may.

pub(crate) mod compiler;
mod debian;
pub(crate) mod deny;
mod lab_tools;
pub(crate) mod linker;
mod lints;

use anyhow::{Result, bail};

use crate::{
    invocation::Invocation,
    setup::{compiler::Compiler, debian::PackageLists},
    workspace::Workspace,
};

/// Package lists, then what they lead to, then a second try with fresh lists: nothing takes more rounds than that.
const ROUNDS_MAX: u32 = 4;

/// Something that a verb cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Lints,
    EbpfCompiler,
    BpfLinker,
    LabTools,
    Peers,
    Emulator,
    NetworkManager,
    CargoDeny,
}

impl Need {
    pub(crate) const ALL: [Self; 6] = [
        Self::Lints,
        Self::EbpfCompiler,
        Self::BpfLinker,
        Self::LabTools,
        Self::NetworkManager,
        Self::CargoDeny,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Lints => "rustfmt and clippy",
            Self::EbpfCompiler => "a compiler for the eBPF programs",
            Self::BpfLinker => "bpf-linker",
            Self::LabTools => "the programs that the tests run",
            Self::Peers => "the probers that only benchmarks run",
            Self::Emulator => "what boots other kernels",
            Self::NetworkManager => "NetworkManager for a test",
            Self::CargoDeny => "cargo-deny",
        }
    }

    fn state(self, workspace: &Workspace, lists: PackageLists) -> State {
        match self {
            Self::Lints => lints::state(),
            Self::EbpfCompiler => match Compiler::find(workspace) {
                Some(compiler) => State::Present(compiler.description()),
                None => debian::fetch_compiler(workspace, lists),
            },
            Self::BpfLinker => match Compiler::find(workspace) {
                Some(compiler) => linker::state(workspace, &compiler),
                None => State::Later(linker::without_compiler()),
            },
            Self::LabTools => lab_tools::state(lists),
            Self::Peers => lab_tools::state_of_peers(lists),
            Self::Emulator => lab_tools::state_of_emulator(lists),
            Self::NetworkManager => debian::fetch_network_manager(workspace, lists),
            Self::CargoDeny => deny::state(workspace),
        }
    }
}

/// How things stand with a need.
enum State {
    /// It is met, by this.
    Present(String),
    /// These steps lead to it, or to where the next ones are known.
    Lacking(Vec<Step>),
    /// Nothing that may be done here leads to it; this is what a person can do.
    Impossible(String),
    /// What leads to it depends on another need that is not met; this is what it will be.
    Later(String),
}

/// Something to do, and what for.
struct Step {
    purpose: String,
    invocation: Invocation,
}

impl Step {
    fn new(purpose: impl Into<String>, invocation: Invocation) -> Self {
        Self {
            purpose: purpose.into(),
            invocation,
        }
    }
}

/// The verb: everything, with a line for each need.
pub(crate) fn run(workspace: &Workspace, needs: &[Need], dry_run: bool) -> Result<()> {
    settle_all(workspace, needs, dry_run, true)
}

/// For the other verbs: silent where nothing is missing.
pub(crate) fn require(workspace: &Workspace, needs: &[Need]) -> Result<()> {
    settle_all(workspace, needs, false, false)
}

fn settle_all(workspace: &Workspace, needs: &[Need], dry_run: bool, verbose: bool) -> Result<()> {
    let mut session = Session {
        workspace,
        dry_run,
        verbose,
        lists: PackageLists::AsFound,
        has_found_all: true,
    };
    let mut missing = Vec::new();
    for &need in needs {
        // One that fails keeps nobody from being told of the others.
        let is_met = session.settle(need).unwrap_or_else(|error| {
            eprintln!("setup: {error:#}");
            false
        });
        if !is_met {
            missing.push(need.name());
        }
    }
    if verbose && session.has_found_all {
        eprintln!("setup: everything is there, nothing was done");
    }
    match missing.as_slice() {
        [] => Ok(()),
        missing => bail!("missing: {}", missing.join(", ")),
    }
}

/// What holds for all needs of one run.
struct Session<'workspace> {
    workspace: &'workspace Workspace,
    dry_run: bool,
    verbose: bool,
    lists: PackageLists,
    has_found_all: bool,
}

impl Session<'_> {
    /// Whether the need is met in the end.
    fn settle(&mut self, need: Need) -> Result<bool> {
        for _ in 0..ROUNDS_MAX {
            let state = need.state(self.workspace, self.lists);
            self.has_found_all &= matches!(state, State::Present(_));
            let steps = match state {
                State::Present(what) => {
                    if self.verbose {
                        eprintln!("setup: {}: {what}", need.name());
                    }
                    return Ok(true);
                }
                State::Impossible(advice) => {
                    eprintln!("setup: missing: {}. {advice}", need.name());
                    return Ok(false);
                }
                State::Later(advice) => {
                    eprintln!("setup: missing: {}. {advice}", need.name());
                    return Ok(self.dry_run);
                }
                State::Lacking(steps) => steps,
            };
            let is_permitted = steps.iter().all(|step| step.invocation.is_permitted());
            if self.dry_run || !is_permitted {
                print_steps(need, &steps, is_permitted);
                return Ok(self.dry_run && is_permitted);
            }
            match run_steps(need, &steps) {
                Ok(()) => self.lists = self.lists.after(&steps),
                // Lists that are out of date name versions that can no longer be had.
                Err(error)
                    if debian::is_about_packages(&steps) && self.lists == PackageLists::AsFound =>
                {
                    eprintln!("setup: {error:#}; again with fresh package lists");
                    self.lists = PackageLists::Refresh;
                }
                Err(error) => return Err(error),
            }
        }
        bail!(
            "{} is still missing after {ROUNDS_MAX} rounds of setup",
            need.name()
        );
    }
}

fn print_steps(need: Need, steps: &[Step], is_permitted: bool) {
    let what = if is_permitted {
        "this would be run"
    } else {
        "this needs root, and there is no sudo; as root, run"
    };
    eprintln!("setup: missing: {}; {what}:", need.name());
    for step in steps {
        eprintln!("  # {}\n  {}", step.purpose, step.invocation);
    }
}

fn run_steps(need: Need, steps: &[Step]) -> Result<()> {
    eprintln!("setup: missing: {}", need.name());
    for step in steps {
        eprintln!("setup: {}\n  $ {}", step.purpose, step.invocation);
        step.invocation.clone().chatter_to_stderr().run()?;
    }
    Ok(())
}
