//! The multigateway failover's config.py.

use std::path::PathBuf;

use pingu::{
    config::{Gateway, LearnedRoutes, Mode, Quorum, Rule, WhenAllDown},
    import::{Kind, Severity},
    units::{Metric, TableId},
};

use crate::{burst, error_line, imported, ms, refused, says, uplink};

const DOCUMENTED: &str = include_str!("originals/multigateway.py");

/// The assignments that its documentation shows.
const README: &str = r#"
CHECK_INTERVAL = 5
START_METRIC = 100
MAX_STORED_TEST_RESULT_COUNT = 50
MAX_FAILED_CHECKS = 50
MIN_CONSECUTIVE_SUCCEEDED_CHECKS = 1
STICKY_PROVIDER_FILENAME = "sticky.provider"
providers: list[Provider] = [ Provider(id="isp1", interface_name="eth1", ipv4_address="10.10.1.1", network="10.10.1.0/24",
  gateway="10.10.1.254", rt_table_name="R1", rt_table_id=1) ]
test_cases: list[TestScenario] = [ TestScenarioPing("8.8.8.8") ]
"#;

#[test]
fn the_documented_example_means_what_its_documentation_says() {
    let imported = imported(README);
    assert_eq!(imported.kind, Kind::Multigateway);
    assert!(imported.notes.is_empty(), "{:?}", imported.notes);
    let config = &imported.config;
    assert_eq!(
        config.sticky_file,
        Some(PathBuf::from("/etc/failover/sticky.provider"))
    );
    assert_eq!(
        config.learned_routes,
        LearnedRoutes::Overlay,
        "the user's own default survives"
    );
    let group = &config.groups[0];
    assert_eq!(
        (group.mode, group.start_metric),
        (Mode::Ordered, Metric(100))
    );
    assert_eq!(group.when_all_down, WhenAllDown::First);
    let isp1 = uplink(config, "isp1");
    assert_eq!(isp1.interface, "eth1");
    assert_eq!(isp1.source.v4, Some("10.10.1.1".parse().unwrap()));
    let gateway = Gateway::Static {
        v4: Some("10.10.1.254".parse().unwrap()),
        v6: None,
    };
    assert_eq!(isp1.gateway, gateway);
    let table = isp1.table.as_ref().unwrap();
    assert_eq!((table.id, &*table.name), (TableId(1), "R1"));
    assert_eq!(burst(isp1).period, ms(5000));
    assert_eq!(burst(isp1).count, 1);
    let rule = Rule::Window {
        window: 50,
        max_failed: 50,
        min_consecutive: 1,
    };
    assert_eq!(
        isp1.health.rule, rule,
        "more than one in a row, as in the documented code"
    );
    assert_eq!(isp1.health.quorum, Quorum::All);
}

#[test]
fn the_whole_file_is_read_and_what_is_internal_is_listed() {
    let imported = imported(DOCUMENTED);
    let config = &imported.config;
    assert_eq!(burst(&config.uplinks[0]).period, ms(300), "a fraction");
    let metrics: Vec<u32> = config
        .uplinks
        .iter()
        .map(|uplink| uplink.metric.0)
        .collect();
    assert_eq!(metrics, [100, 101]);
    assert_eq!(config.uplinks[1].probe.targets.len(), 2);
    assert!(says(
        &imported.notes,
        Severity::NotCarriedOver,
        28,
        "result_set"
    ));
    assert!(says(
        &imported.notes,
        Severity::NotCarriedOver,
        31,
        "DEFAULT_SHELL_OPTIONS"
    ));
    assert_eq!(imported.notes.len(), 2);
}

#[test]
fn all_gateways_may_be_the_same_address() {
    let providers = (1..=3).map(|n| {
        format!(
            "  Provider(id='p{n}', interface_name='eth{n}', ipv4_address='10.0.0.{n}', network='10.0.0.0/24',\n    \
             gateway='10.0.0.254', rt_table_name='T{n}', rt_table_id={n}),\n"
        )
    });
    let text = format!(
        "START_METRIC = 1_0 + 0\nSTART_METRIC = 0x0a\nproviders = [\n{}]\ntest_cases = (TestScenarioPing(target='192.0.2.1'),)\n",
        providers.collect::<String>()
    );
    let imported = imported(&text);
    assert_eq!(imported.config.uplinks.len(), 3);
    assert_eq!(imported.config.groups[0].start_metric, Metric(10));
    assert!(says(
        &imported.notes,
        Severity::Differs,
        1,
        "is set again in line 2"
    ));
    assert!(says(
        &imported.notes,
        Severity::Differs,
        1,
        "`CHECK_INTERVAL` is not given: taken for 5"
    ));
}

#[test]
fn what_would_have_to_be_run_is_listed_and_nothing_is_run() {
    let text = format!(
        "import os; os.system('touch /tmp/run')\nif True:\n    CHECK_INTERVAL = 1\n    START_METRIC = 5\ndef f():\n    return 1\n{README}\
         for p in providers: print(p)\nX = [os.remove('/tmp/run')]\nMAX_FAILED_CHECKS = f()\n"
    );
    let imported = imported(&text);
    let lines = text.lines().count();
    let lost = |line, words| says(&imported.notes, Severity::NotCarriedOver, line, words);
    assert!(lost(1, "os.system"), "{:?}", imported.notes);
    assert!(lost(2, "if True"));
    assert!(lost(5, "def f"));
    assert!(lost(lines - 2, "for p in"));
    assert!(lost(lines - 1, "`X`"));
    assert!(lost(lines, "`MAX_FAILED_CHECKS` is f(...)"));
    assert_eq!(burst(&imported.config.uplinks[0]).period, ms(5000));
}

#[test]
fn checks_of_ones_own_are_listed_and_the_pings_carried_over() {
    let text = README.replace(
        "[ TestScenarioPing(\"8.8.8.8\") ]",
        "[\n  TestScenarioPing(\"8.8.8.8\"),\n  TestScenarioHttp(url=\"http://x\"),\n  lambda p: True,\n  TestScenarioPing(\"8.8.8.8\")]",
    );
    let imported = imported(&text);
    assert_eq!(imported.config.uplinks[0].probe.targets.len(), 1);
    assert!(says(
        &imported.notes,
        Severity::NotCarriedOver,
        12,
        "TestScenarioHttp"
    ));
    assert!(says(
        &imported.notes,
        Severity::NotCarriedOver,
        13,
        "lambda"
    ));
    assert!(says(
        &imported.notes,
        Severity::Differs,
        14,
        "once is enough"
    ));
}

#[test]
fn a_provider_that_is_not_written_out_is_an_error() {
    for (from, to, words) in [
        (
            "[ Provider(",
            "[ make(), Provider(",
            "`providers[0]` must be Provider(...)",
        ),
        (
            "id=\"isp1\"",
            "id=NAME",
            "`providers[0].id` must be a text in quotes",
        ),
        (
            "rt_table_id=1",
            "rt_table_id=None",
            "`providers[0].rt_table_id` must be a whole number, not None",
        ),
        (
            "rt_table_id=1",
            "rt_table_id=254",
            "`providers[0].rt_table_id`: as pingu reads it",
        ),
        (
            "gateway=\"10.10.1.254\", ",
            "",
            "`providers[0].gateway` is needed",
        ),
        (
            "gateway=\"10.10.1.254\"",
            "gateway=\"gw\"",
            "`providers[0].gateway`: as pingu reads it",
        ),
        ("id=\"isp1\"", "\"isp1\"", "each field by its name"),
        (
            "TestScenarioPing(\"8.8.8.8\")",
            "TestScenarioPing(\"host\")",
            "`TestScenarioPing` must be the address",
        ),
        (
            "TestScenarioPing(\"8.8.8.8\")",
            "",
            "`test_cases` has no ping",
        ),
        (
            "CHECK_INTERVAL = 5",
            "CHECK_INTERVAL = -5",
            "`CHECK_INTERVAL` must be a number of seconds, not -5",
        ),
        (
            "CHECK_INTERVAL = 5",
            "CHECK_INTERVAL = \"5\"",
            "`CHECK_INTERVAL` must be a number, not \"5\"",
        ),
        (
            "providers: list[Provider] = [",
            "providers += [",
            "`providers` must be set to a list",
        ),
    ] {
        let text = README.replace(from, to);
        assert_ne!(text, README);
        let line = text
            .lines()
            .position(|line| line.contains(to) && !line.is_empty())
            .unwrap()
            + 1;
        let found = error_line(&refused(&text, Kind::Multigateway), words);
        assert!(
            found == line || to.is_empty() && found >= 8,
            "{words}: {found}"
        );
    }
}

#[test]
fn what_is_no_python_is_refused_by_its_line() {
    for (text, line, words) in [
        ("\nproviders = [", 2, "`[` is never closed"),
        ("\nproviders = (1]", 2, "does not close"),
        ("\n\nx = \"a\ny = 1", 3, "not closed on its line"),
        ("\n\"\"\"a\nb", 2, "never closed"),
        ("x = 1 \\ 2", 1, "backslash"),
        (")", 1, "closes nothing"),
        ("a = €", 1, "is no Python"),
    ] {
        assert_eq!(
            error_line(&refused(text, Kind::Multigateway), words),
            line,
            "{text}"
        );
    }
    let deep = format!("providers = {}", "[".repeat(50_000));
    refused(&deep, Kind::Multigateway);
    let deep = format!("providers = {}{}", "[".repeat(50_000), "]".repeat(50_000));
    refused(&deep, Kind::Multigateway);
}

#[test]
fn names_that_stand_for_plain_values_are_what_they_stand_for() {
    let text = "(GATEWAY), ID = \"10.10.1.254\", 7\nTARGET = '8.8.' \"8.8\"\n\
        if True:\n\tOTHER = GATEWAY\n\
        MAX_FAILED_CHECKS, MIN_CONSECUTIVE_SUCCEEDED_CHECKS = 4, 2\n\
        CHECK_INTERVAL, START_METRIC = (1.5, 0x10)\n\
        providers = [\n Provider(id=\"isp1\", interface_name=\"eth1\", ipv4_address=\"10.10.1.1\", network=\"10.10.1.0/24\", \
        gateway=GATEWAY, rt_table_id=ID),\n\
        Provider(id=\"isp2\", interface_name=\"eth2\", ipv4_address=\"10.10.1.2\", network=\"10.10.1.0/24\", \
        gateway=GATEWAY, rt_table_name=\"R2\", rt_table_id=8),\n]\n\
        test_cases = [TestScenarioPing(host=TARGET)]\n";
    let config = imported(text).config;
    let [first, second] = &config.uplinks[..] else {
        panic!("{:?}", config.uplinks)
    };
    for (uplink, name, table) in [(first, "isp1", 7), (second, "isp2", 8)] {
        assert_eq!(uplink.name, name);
        assert_eq!(uplink.table.as_ref().unwrap().id, TableId(table));
        let gateway = Gateway::Static {
            v4: Some("10.10.1.254".parse().unwrap()),
            v6: None,
        };
        assert_eq!(uplink.gateway, gateway);
        assert_eq!(uplink.probe.targets[0].to_string(), "8.8.8.8");
    }
    assert_eq!(
        first.health.rule,
        Rule::Window {
            window: 50,
            max_failed: 4,
            min_consecutive: 2
        }
    );
    assert_eq!(config.groups[0].start_metric, Metric(16));
    assert_eq!(burst(first).period, ms(1500));
}

#[test]
fn a_name_that_some_line_may_have_changed_is_not_guessed() {
    for change in [
        "GATEWAY += \"9\"",
        "if True:\n    GATEWAY = \"10.10.1.9\"",
        "if True: GATEWAY = \"10.10.1.9\"",
        "GATEWAY = input()",
        "GATEWAY, OTHER = input(), 1",
        "for GATEWAY in range(3): pass",
    ] {
        let text = format!(
            "GATEWAY = \"10.10.1.254\"\n{change}\nproviders = [Provider(id=\"isp1\", interface_name=\"eth1\", ipv4_address=\"10.10.1.1\", \
             network=\"10.10.1.0/24\", gateway=GATEWAY, rt_table_id=1)]\ntest_cases = [TestScenarioPing(\"8.8.8.8\")]\n"
        );
        let refusal = refused(&text, Kind::Multigateway);
        let words = "which would have to be run";
        assert!(refusal.to_string().contains(words), "{change}: {refusal}");
    }
}
