//! The model beside the kernel: the same operations, the same answers, the same tables.
//!
//! A run is a seed. To see one again: `PINGU_MODEL_SEED=17 cargo test -p pingu-tests --test netlink the_model`; it then compares after
//! every operation.

mod kernel;
mod operation;
mod random;

use pingu::{
    netlink::{RouteTable, model::FakeKernel},
    network::{Address, Route, Snapshot},
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
const OPERATIONS: usize = 40;
/// Tables are compared after so many operations; answers, after each.
const COMPARED_EVERY: usize = 5;

/// What makes a single run of the given seed.
const SEED: &str = "PINGU_MODEL_SEED";

#[test]
fn the_model_is_as_the_kernel_in_500_runs() {
    if let Ok(seed) = std::env::var(SEED) {
        let seed = seed.parse().unwrap();
        return in_namespace(async move || run(&mut Kernel::new(), seed, 1).await);
    }
    let workers = (0..WORKERS).map(|worker| {
        std::thread::spawn(move || {
            in_namespace(async move || {
                let mut kernel = Kernel::new();
                for seed in (0..RUNS).filter(|seed| seed % WORKERS == worker) {
                    run(&mut kernel, seed, COMPARED_EVERY).await;
                }
            });
        })
    });
    let workers: Vec<_> = workers.collect();
    for worker in workers {
        worker.join().unwrap();
    }
}

async fn run(kernel: &mut Kernel, seed: u64, compared_every: usize) {
    let mut random = Random(seed);
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
        done.push(format!("{operation} = {said}"));
        assert_eq!(said, expected, "{}", story(seed, &done, &model));
        if operation.moves_links() {
            kernel.settle(&model).await;
        }
        if step % compared_every == 0 || step == OPERATIONS {
            compare(kernel, &model, &done, seed).await;
        }
    }
    kernel.end(&model).await;
}

/// Everything that either side holds.
async fn compare(kernel: &mut Kernel, model: &FakeKernel, done: &[String], seed: u64) {
    for ipv6 in [false, true] {
        let (real, modelled) = (kernel.list(ipv6), model.list(ipv6));
        assert_eq!(real, modelled, "{}", story(seed, done, model));
    }
    let (real, modelled) = (kernel.nexthops(), model.nexthops());
    assert_eq!(real, modelled, "{}", story(seed, done, model));
    let (real, modelled) = (kernel.rules(), model.rules());
    assert_eq!(real, modelled, "{}", story(seed, done, model));
    let real = kernel.routes.snapshot().await.unwrap();
    let modelled = model.clone().snapshot().await.unwrap();
    assert_eq!(bare(&real), bare(&modelled), "{}", story(seed, done, model));
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
fn bare(snapshot: &Snapshot) -> (Vec<Route>, Vec<Address>, Vec<(u32, bool, bool)>) {
    let routes = snapshot.routes.iter().map(|route| Route {
        wire: Vec::new(),
        ..route.clone()
    });
    let mut routes: Vec<Route> = routes.collect();
    routes.sort_by_key(|route| (route.table, route.destination));
    let addresses = snapshot.addresses.iter().map(|address| Address {
        usable: true,
        ..address.clone()
    });
    let mut addresses: Vec<Address> = addresses.filter(|own| own.ifindex.0 > 1).collect();
    addresses.sort_by_key(|own| (own.ifindex, own.address));
    let links = snapshot.links.iter().filter(|link| link.ifindex.0 > 1);
    let links = links.map(|link| (link.ifindex.0, link.admin_up, link.carrier));
    (routes, addresses, links.collect())
}
