//! The module `dns`, with names that need no network.

use super::*;

fn told(text: &str) -> String {
    Bench::new(&format!("local dns = require('dns')\n{text}")).global("told")
}

#[test]
fn addresses_are_arrays_of_strings() {
    assert_eq!(
        told("told = table.concat(dns.lookup('192.0.2.1'), ' ')"),
        "192.0.2.1"
    );
    assert_eq!(
        told("told = table.concat(dns.lookup_v4('192.0.2.1'), ' ')"),
        "192.0.2.1"
    );
    assert_eq!(
        told("told = table.concat(dns.lookup_v6('2001:db8::1'), ' ')"),
        "2001:db8::1"
    );
    assert_eq!(told("told = type(dns.lookup('localhost')[1])"), "string");
}

#[test]
fn a_failure_is_an_error_that_names_what_was_looked_for() {
    for (call, name) in [
        ("dns.lookup_v6('192.0.2.1')", "192.0.2.1"),
        ("dns.lookup_v4('2001:db8::1')", "2001:db8::1"),
        ("dns.lookup('a b')", "a b"),
        ("dns.lookup('')", ""),
    ] {
        let wrong = problems(&format!("local dns = require('dns')\n{call}"));
        assert!(wrong[0].contains(&format!("`{name}`")), "{wrong:?}");
    }
}

#[test]
fn a_lookup_within_a_timeout_answers_the_same() {
    let text = "dns.set_timeout(5000) told = table.concat(dns.lookup('192.0.2.1'), ' ')";
    assert_eq!(told(text), "192.0.2.1");
    assert_eq!(
        told("dns.set_timeout(0) told = dns.lookup('::1')[1]"),
        "::1"
    );
}

#[test]
fn a_timeout_is_a_number_of_milliseconds() {
    for value in ["-1", "0/0", "1/0", "'soon'", "nil"] {
        let wrong = problems(&format!("require('dns').set_timeout({value})"));
        assert_eq!(wrong.len(), 1, "{wrong:?}");
    }
}

#[test]
fn callbacks_may_look_names_up() {
    let bench = Bench::new(
        "function on_update()
           for _, address in ipairs(require('dns').lookup('192.0.2.1')) do probe.start(probe.new(address)) end
         end",
    );
    bench.update().expect("no error");
    assert_eq!(bench.shared.store(|store, _| store.len()), 1);
}

#[test]
fn a_wrong_argument_is_told_in_words_of_lua() {
    for (call, words) in [
        ("lookup()", "lookup: a name must be a string, not nil"),
        (
            "lookup_v6(true)",
            "lookup_v6: a name must be a string, not a boolean",
        ),
        (
            "lookup_v4(require('dns'))",
            "lookup_v4: a name must be a string, not a table; functions of `dns` are called with a dot",
        ),
        ("set_timeout('soon')", "not a string"),
        ("set_timeout({})", "not a table"),
        ("set_timeout(-1)", "or 0 for none, not -1"),
    ] {
        let wrong = problems(&format!("\nrequire('dns').{call}"));
        assert!(
            wrong[0].contains(":2: ") && wrong[0].contains(words),
            "{wrong:?}"
        );
    }
}
