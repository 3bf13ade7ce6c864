//! The model beside the kernel: the same operations, the same answers, the same tables.
//!
//! A run is a seed. To see one again: `PINGU_MODEL_SEED=17 cargo test -p pingu-tests --test netlink the_model`; it then compares after
//! every operation.

mod kernel;
mod operation;
mod random;

use std::{collections::BTreeMap, fmt::Debug};

use pingu::{
    netlink::{RouteTable, model::FakeKernel},
    network::Snapshot,
};

use crate::harness::{errno, in_namespace};
use kernel::Kernel;
use operation::Operation;
use random::Random;

/// Runs, each from an empty table, over all workers.
const RUNS: u64 = 500;
/// Each has a namespace of its own.
const WORKERS: u64 = 4;
/// Operations of one run.
const OPERATIONS: usize = 60;
/// Tables are compared after so many operations; answers, after each.
const COMPARED_EVERY: usize = 5;

/// Each kind of operation must have been done so often over all runs.
const DONE_MIN: usize = 20;

/// What makes a single run of the given seed.
const SEED: &str = "PINGU_MODEL_SEED";

#[test]
fn the_model_is_as_the_kernel_in_500_runs() {
    if let Ok(seed) = std::env::var(SEED) {
        let seed = seed.parse().unwrap();
        let one = async move || run(&mut Kernel::new(), seed, 1, &mut Tally::new()).await;
        return in_namespace(one);
    }
    let (report, reports) = std::sync::mpsc::channel();
    let workers = (0..WORKERS).map(|worker| {
        let report = report.clone();
        std::thread::spawn(move || {
            in_namespace(async move || {
                let (mut kernel, mut tally) = (Kernel::new(), Tally::new());
                for seed in (0..RUNS).filter(|seed| seed % WORKERS == worker) {
                    run(&mut kernel, seed, COMPARED_EVERY, &mut tally).await;
                }
                report.send(tally).unwrap();
            });
        })
    });
    let workers: Vec<_> = workers.collect();
    for worker in workers {
        worker.join().unwrap();
    }
    drop(report);
    let mut tally = Tally::new();
    for (kind, [done, refused]) in reports.into_iter().flatten() {
        let [all_done, all_refused] = tally.entry(kind).or_default();
        *all_done += done;
        *all_refused += refused;
    }
    // Or the runs tried too little.
    let enough =
        |[done, refused]: &[usize; 2]| *done >= DONE_MIN && done + refused >= RUNS as usize / 10;
    assert!(
        tally.len() == operation::KINDS && tally.values().all(enough),
        "{tally:?}"
    );
}

/// How often each kind of operation was done, and refused.
type Tally = BTreeMap<&'static str, [usize; 2]>;

async fn run(kernel: &mut Kernel, seed: u64, compared_every: usize, tally: &mut Tally) {
    let mut random = Random::new(seed);
    let mut model = kernel.begin().await;
    let mut done: Vec<String> = Vec::new();
    compare(kernel, &model, &done, seed).await;
    for step in 1..=OPERATIONS {
        let operation = random.operation(&model);
        let (said, expected) = match &operation {
            Operation::Change(change) => {
                let real = kernel.real(change).await;
                let (real, modelled) = (kernel.routes.apply(&real).await, model.change(change));
                (errno(&real), errno(&modelled))
            }
            line => {
                let expected = i32::from(line.apply(&mut model).is_err());
                let said = kernel.say(line);
                (i32::from(said.is_err()), expected)
            }
        };
        tally.entry(operation.kind()).or_default()[usize::from(said != 0)] += 1;
        done.push(format!("{operation} = {said}"));
        assert_eq!(said, expected, "{}", story(seed, &done, &model));
        if operation.moves_links() {
            kernel.settle(&model);
        }
        if step % compared_every == 0 || step == OPERATIONS {
            compare(kernel, &model, &done, seed).await;
        }
    }
    kernel.end(&model);
}

/// Everything that either side holds.
async fn compare(kernel: &mut Kernel, model: &FakeKernel, done: &[String], seed: u64) {
    let story = || story(seed, done, model);
    for ipv6 in [false, true] {
        same(&kernel.list(ipv6), &model.list(ipv6), story);
    }
    same(&kernel.nexthops(), &model.nexthops(), story);
    same(&kernel.rules(), model.rules(), story);
    let (real, modelled) = (kernel.routes.snapshot().await.unwrap(), model.look());
    let (real, modelled) = (bare(real), bare(modelled));
    same(&real.routes, &modelled.routes, story);
    same(&real.addresses, &modelled.addresses, story);
    same(&real.rules, &modelled.rules, story);
    same(&real.nexthops, &modelled.nexthops, story);
    assert_eq!(states(&real), states(&modelled), "{}", story());
}

fn same<T: Debug + PartialEq>(real: &[T], modelled: &[T], story: impl Fn() -> String) {
    let without = |all: &[T], others: &[T]| -> String {
        let rest = all.iter().filter(|one| !others.contains(one));
        rest.map(|one| format!("\n  {one:?}")).collect()
    };
    assert!(
        real == modelled,
        "{}\nonly the kernel has:{}\nonly the model has:{}\nthe kernel's order: {real:#?}",
        story(),
        without(real, modelled),
        without(modelled, real),
    );
}

fn story(seed: u64, done: &[String], model: &FakeKernel) -> String {
    let mut text = format!("seed {seed} (alone and step by step: {SEED}={seed})\n");
    text += &done.join("\n");
    for ipv6 in [false, true] {
        for listed in model.list(ipv6) {
            text += &format!("\nmodel: {listed:?}");
        }
    }
    text
}

/// The adapter's view, without the bytes, which the model makes up, and what the kernel works out later.
fn bare(mut snapshot: Snapshot) -> Snapshot {
    for route in &mut snapshot.routes {
        route.wire.clear();
    }
    snapshot
        .routes
        .sort_by_key(|route| (route.table, route.destination));
    snapshot.addresses.retain(|own| own.ifindex.0 > 1);
    for own in &mut snapshot.addresses {
        own.usable = true;
    }
    snapshot
        .addresses
        .sort_by_key(|own| (own.ifindex, own.address));
    snapshot
}

/// Number, set up, and carrier of every link but the loopback interface.
fn states(snapshot: &Snapshot) -> Vec<(u32, bool, bool)> {
    let links = snapshot.links.iter().filter(|link| link.ifindex.0 > 1);
    links
        .map(|link| (link.ifindex.0, link.admin_up, link.carrier))
        .collect()
}
