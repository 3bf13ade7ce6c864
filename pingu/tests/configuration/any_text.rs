//! Any text at all: no panic, and what is accepted reads back.

use pingu::config::{Config, Severity};
use proptest::prelude::*;

/// Values of a key, right and wrong.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,5}",
        "(true|false)",
        "\"[0-9]{1,4}(ms|s|m|h|us|x)\"",
        "\"(auto|none|tcx|adopt|burst|rolling|any|all|10\\.0\\.0\\.1|fe80::1|wan0)\"",
        "\\[\"(10\\.0\\.0\\.2|2001:db8::1)\"\\]",
    ]
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(\\PC|\n){0,200}") {
        let _ = Config::parse(&text, "f").map_err(|problems| problems.render());
    }

    #[test]
    fn no_keys_and_values_make_it_panic_and_what_is_accepted_reads_back(
        lines in prop::collection::vec((
            prop::sample::select(vec![
                "protocol", "engine", "receive_hook", "learned_routes", "mark_connections", "flush_connections", "fwmark",
                "table",
                "[damping]", "half_life", "suppress", "reuse", "max_suppress",
                "[prefer_better]", "by_delay", "by_loss", "for", "[probe]", "targets", "period", "count", "spacing", "timeout",
                "size", "reflect", "mode", "interval", "suspect_interval", "[health]", "max_lost", "max_loss",
                "recover_loss", "max_delay", "max_jitter", "recover_lost", "recover_delay", "recover_jitter", "fall",
                "rise", "window", "max_failed", "min_consecutive", "quorum", "hold_down", "[[uplink]]", "gateway", "metric",
            ]),
            value(),
        ), 0..12),
    ) {
        let mut text = String::new();
        for (key, value) in lines {
            if key.starts_with('[') { text += key } else { text += &format!("{key} = {value}") }
            text.push('\n');
        }
        text += "[[uplink]]\nname = \"last\"\ninterface = \"wan9\"\ntargets = [\"10.0.0.3\", \"2001:db8::3\"]\n";
        match Config::parse(&text, "f") {
            Ok((config, _)) => {
                let printed = config.to_toml();
                let (again, _) = Config::parse(&printed, "printed").expect("what is printed is right");
                prop_assert_eq!(again, config);
            }
            Err(problems) => {
                prop_assert!(problems.list.iter().any(|problem| problem.severity == Severity::Error));
                prop_assert!(problems.list.iter().all(|problem| problem.line >= 1 && problem.line <= text.lines().count() + 1));
            }
        }
    }
}
