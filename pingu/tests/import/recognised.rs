//! What a file is, told by its content.

use pingu::import::{Kind, Original, import};

use crate::original;

#[test]
fn each_kind_is_recognised_by_its_content() {
    for (text, kind) in [
        (include_str!("originals/py-pingu.json"), Kind::PyPingu),
        ("// a comment\n/* another */ {\"host\": 1}", Kind::PyPingu),
        (
            include_str!("originals/multigateway.py"),
            Kind::Multigateway,
        ),
        (include_str!("originals/two-gateway.sh"), Kind::TwoGateway),
        (include_str!("originals/mwan3"), Kind::Mwan3),
        (include_str!("originals/dpinger.sh"), Kind::Dpinger),
        ("dpinger 192.0.2.1\n", Kind::Dpinger),
        (
            &include_str!("originals/two-gateway.sh").replace("PRIMARY_", "export PRIMARY_"),
            Kind::TwoGateway,
        ),
        (
            "[Service]\nExecStart=-/usr/bin/dpinger -f 192.0.2.1\n",
            Kind::Dpinger,
        ),
    ] {
        let outcome = import(original(text), None);
        let same = import(original(text), Some(kind));
        assert_eq!(outcome.map(|i| i.toml), same.map(|i| i.toml), "{kind:?}");
    }
}

#[test]
fn what_is_nothing_known_or_more_than_one_thing_is_refused() {
    for (text, words) in [
        ("", "nobody knows what this is; looked for: py-pingu's JSON"),
        ("hello = world\n", "--from says which it is"),
        (
            "killall dpinger\necho dpinger # dpinger 192.0.2.1\n",
            "nobody knows",
        ),
        (
            "PRIMARY_IF=eth0\ndpinger 192.0.2.1\n",
            "two-gateway (line 1), dpinger (line 2): say --from",
        ),
        ("[[uplink]]\nname = \"a\"\n", "of pingu's own"),
        (
            "local p = probe.new(\"8.8.8.8\")\n",
            "a script for failoverd",
        ),
        ("a\0b", "a byte 0"),
    ] {
        let refusal = import(original(text), None).expect_err(text);
        assert!(refusal.to_string().contains(words), "{refusal}");
        assert!(refusal.to_string().starts_with("original:"));
    }
}

#[test]
fn a_file_that_is_forced_into_another_kind_is_refused_by_line() {
    let kinds = [
        Kind::PyPingu,
        Kind::Multigateway,
        Kind::TwoGateway,
        Kind::Mwan3,
        Kind::Dpinger,
    ];
    let texts = [
        include_str!("originals/py-pingu.json"),
        include_str!("originals/multigateway.py"),
        include_str!("originals/two-gateway.sh"),
        include_str!("originals/mwan3"),
        include_str!("originals/dpinger.sh"),
    ];
    for (own, text) in texts.into_iter().enumerate() {
        for (other, kind) in kinds.into_iter().enumerate() {
            assert_eq!(
                import(original(text), Some(kind)).is_ok(),
                own == other,
                "{kind:?}\n{text}"
            );
        }
    }
}

#[test]
fn a_broken_file_is_told_by_its_name_and_refused_for_what_is_wrong() {
    for (file, text, line, words) in [
        ("a/config.json", "\n  \"host\": 1}", 2, "nothing may follow"),
        ("config.py", "\n\nprovider = [", 3, "`[` is never closed"),
        ("/x/config.sh", "A=1\nB='", 2, "never closed"),
        (
            "/etc/config/mwan3",
            "\nconf interface 'wan'",
            2,
            "is expected to be",
        ),
    ] {
        let named = Original {
            file,
            ..original(text)
        };
        let refusal = import(named, None).expect_err(text);
        assert_eq!(crate::error_line(&refusal, words), line, "{refusal}");
    }
}
