//! The global `pingu`: what scripts see, wish, and are told to be wrong.
#![expect(
    clippy::disallowed_methods,
    reason = "timers are asked with the time of the clock"
)]

use std::{net::IpAddr, path::Path, sync::PoisonError};

use super::*;
use crate::{
    engine::{ExtraRoute, RttSummary},
    script::vm::VmOptions,
    units::{Metric, TableId},
};

/// Notes what is wished.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn note(&self, what: String) -> Result<(), String> {
        if what.contains("bad") {
            return Err(format!("no: {what}"));
        }
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
        Ok(())
    }
}

impl Host for Notes {
    fn uplinks(&self) -> Arc<Vec<UplinkView>> {
        let view = |name: &str, state, rtt_us| UplinkView {
            name: name.to_owned(),
            interface: format!("{name}0"),
            gateway: Some(IpAddr::from([10, 0, 0, 1])),
            state,
            usable: true,
            active: false,
            loss_percent: Some(2.5),
            rtt_us,
        };
        let rtt = RttSummary {
            min: 1000.0,
            p50: 2000.0,
            p90: 2500.0,
            p99: 3000.0,
            max: 4000.0,
            mean: 2100.0,
            jitter: 100.0,
        };
        Arc::new(vec![
            view("fibre", State::Up, Some(rtt)),
            view("lte", State::Unknown, None),
        ])
    }

    fn prefer(&self, name: Option<&str>) -> Result<(), String> {
        self.note(format!("prefer {name:?}"))
    }

    fn pin(&self, name: Option<&str>) -> Result<(), String> {
        self.note(format!("pin {name:?}"))
    }

    fn route(&self, order: RouteOrder) -> Result<(), String> {
        self.note(format!("{order:?}"))
    }

    fn log(&self, text: &str) {
        self.note(format!("log {text}")).unwrap();
    }
}

fn machine() -> (Vm, Timers, Arc<Notes>) {
    let vm = Vm::new(&VmOptions {
        sandbox: false,
        time_limit: Duration::from_secs(5),
        memory_limit: 8 << 20,
        print: None,
    });
    let vm = vm.unwrap();
    let notes = Arc::new(Notes::default());
    let host: Arc<dyn Host> = Arc::clone(&notes) as _;
    let timers = install_pingu_module(vm.lua(), &host, Instant::now).unwrap();
    (vm, timers, notes)
}

fn run(vm: &Vm, text: &str) -> Result<String, ScriptError> {
    let script = vm.load(Path::new("p.lua"), text.as_bytes())?;
    vm.call(|_| script.call::<Option<String>>(()))
        .map(Option::unwrap_or_default)
}

#[test]
fn uplinks_tell_what_is_known_of_them() {
    let (vm, _, _) = machine();
    for (text, expected) in [
        ("return #pingu.uplinks()", "2"),
        ("return pingu.uplinks()[1]:name()", "fibre"),
        ("return pingu.uplinks()[2]:state()", "unknown"),
        ("return pingu.uplinks()[1]:loss()", "2.5"),
        ("return pingu.uplinks()[1]:interface()", "fibre0"),
        ("return pingu.uplinks()[1]:gateway()", "10.0.0.1"),
        (
            "local r = pingu.uplinks()[1]:rtt() return r.mean .. ' ' .. r.p50 .. ' ' .. r.p99 .. ' ' .. r.jitter",
            "2.1 2 3 0.1",
        ),
        (
            "local u = pingu.uplinks()[1] u:rtt().mean = 0 return u:rtt().mean",
            "2.1",
        ),
        ("return type(pingu.uplinks()[2]:rtt())", "nil"),
        ("return tostring(require('pingu') == pingu)", "true"),
    ] {
        assert_eq!(run(&vm, text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn wishes_reach_the_host_and_its_refusals_the_line() {
    let (vm, _, notes) = machine();
    run(
        &vm,
        "pingu.pin('lte') pingu.pin(nil) pingu.uplinks()[2]:prefer() pingu.unprefer() pingu.log('hi', 2) pingu.log(7)",
    )
    .unwrap();
    let noted = notes.0.lock().unwrap().clone();
    assert_eq!(
        noted,
        [
            "pin Some(\"lte\")",
            "pin None",
            "prefer Some(\"lte\")",
            "prefer None",
            "log hi",
            "log 7"
        ]
    );
    for (text, expected) in [
        ("\npingu.pin('bad')", "p.lua:2: no: pin Some(\"bad\")"),
        (
            "pingu.pin(true)",
            "p.lua:1: pingu.pin takes the name of an uplink or nil, not a boolean",
        ),
        (
            "pingu.uplinks()[1].state()",
            "p.lua:1: call it as a method of an uplink: uplink:state()",
        ),
        (
            "pingu.after(-1, print)",
            "p.lua:1: pingu.after takes seconds, from 0 up, and a function",
        ),
        (
            "pingu.after(0/0, print)",
            "p.lua:1: pingu.after takes seconds, from 0 up, and a function",
        ),
        (
            "pingu.after(1)",
            "p.lua:1: pingu.after takes seconds, from 0 up, and a function",
        ),
        (
            "pingu.route()",
            "p.lua:1: pingu.route: takes a table, such as { to = \"192.0.2.0/24\", dev = \"wan0\" }",
        ),
        (
            "pingu.route{}",
            "p.lua:1: pingu.route: `to` is needed: a prefix, or \"default\"",
        ),
        (
            "pingu.route{ to = 'x', dev = 'y' }",
            "p.lua:1: pingu.route: `to` \"x\" is no prefix",
        ),
        (
            "pingu.route{ to = 'default' }",
            "p.lua:1: pingu.route: `via` or `dev` is needed",
        ),
        (
            "pingu.route{ to = 'default', via = 'x' }",
            "p.lua:1: pingu.route: `via` \"x\" is no address",
        ),
        (
            "pingu.route{ to = '::/0', via = '10.0.0.1' }",
            "p.lua:1: pingu.route: `via` is of another family than `to`",
        ),
        (
            "pingu.route{ to = 'default', dev = 'y', metric = 1.5 }",
            "p.lua:1: pingu.route: `metric` must be a whole number from 0 up",
        ),
        (
            "pingu.route{ to = 'default', dev = 'y', table = 255 }",
            "p.lua:1: pingu.route: table 255 is the kernel's own",
        ),
        (
            "pingu.route{ to = 'default', device = 'y' }",
            "p.lua:1: pingu.route: `device` is unknown; allowed: to, via, dev, metric, table, delete",
        ),
    ] {
        let error = run(&vm, text).expect_err(text);
        assert_eq!(error.summary(), expected, "{text}");
    }
}

#[test]
fn a_deletion_means_what_it_names_and_nothing_more() {
    let route = |metric: u32| ExtraRoute {
        destination: "192.0.2.0/24".parse().unwrap(),
        gateway: None,
        interface: Some("wan0".to_owned()),
        metric: Metric(metric),
        table: TableId::MAIN,
    };
    let deletion = |metric: Option<u32>, table: u32| RouteOrder::Delete {
        destination: "192.0.2.0/24".parse().unwrap(),
        gateway: None,
        interface: None,
        metric: metric.map(Metric),
        table: TableId(table),
    };
    assert!(deletion(None, 254).deletes(&route(7)));
    assert!(deletion(Some(7), 254).deletes(&route(7)));
    assert!(!deletion(Some(8), 254).deletes(&route(7)));
    assert!(!deletion(None, 253).deletes(&route(7)));
}

#[test]
fn timers_run_once_when_they_are_due_and_no_more_of_them_than_may() {
    let (vm, timers, _) = machine();
    let now = Instant::now();
    run(&vm, "calls = 0 pingu.after(10, function() calls = calls + 1 end) pingu.after(20, function() error('late') end)").unwrap();
    assert!(timers.next_due().unwrap() > now + Duration::from_secs(9));
    assert!(timers.run_due(&vm, now).is_none());
    let later = Instant::now() + Duration::from_secs(30);
    assert_eq!(timers.run_due(&vm, later), Some(Ok(())));
    let failed = timers.run_due(&vm, later).unwrap().unwrap_err();
    assert_eq!(failed.summary(), "p.lua:1: late");
    assert!(timers.run_due(&vm, later).is_none());
    assert_eq!(run(&vm, "return calls").as_deref(), Ok("1"));
    let error = run(&vm, "while true do pingu.after(1, print) end").unwrap_err();
    assert_eq!(
        error.summary(),
        "p.lua:1: pingu.after: 64 timers wait already"
    );
}
