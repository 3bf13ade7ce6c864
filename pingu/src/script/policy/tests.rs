//! The policy's thread: what it answers, and what becomes of a script that fails.
#![expect(
    clippy::disallowed_methods,
    reason = "the script's thread lives in real time"
)]

use super::*;
use crate::engine::State;

const PATIENCE: Duration = Duration::from_secs(20);

fn view(name: &str) -> UplinkView {
    UplinkView {
        name: name.to_owned(),
        interface: "wan0".to_owned(),
        gateway: None,
        state: State::Up,
        usable: true,
        active: false,
        loss_percent: None,
        rtt_us: None,
    }
}

fn start(text: &str) -> Policy {
    let options = PolicyOptions {
        file: PathBuf::from("policy.lua"),
        text: text.as_bytes().to_vec(),
        vm: VmOptions {
            sandbox: true,
            time_limit: Duration::from_millis(100),
            memory_limit: 8 << 20,
            print: None,
        },
        clock: Instant::now,
    };
    Policy::start(options, vec![view("fibre"), view("lte")]).unwrap()
}

async fn next(policy: &mut Policy) -> Option<Word> {
    let word = tokio::time::timeout(PATIENCE, policy.next()).await;
    word.expect("it says something")
}

/// What is said after the first word, by what it was told.
async fn order_of(text: &str) -> Word {
    let mut policy = start(text);
    let ready = next(&mut policy).await;
    assert!(matches!(ready, Some(Word::Ready { .. })), "{ready:?}");
    policy.tell(vec![view("fibre"), view("lte")]);
    next(&mut policy).await.expect("it runs")
}

#[tokio::test]
async fn an_order_is_names_or_uplinks_or_nothing() {
    for (text, expected) in [
        ("return { 'lte', 'fibre' }", Some(vec!["lte", "fibre"])),
        ("return { u[2], 'fibre' }", Some(vec!["lte", "fibre"])),
        ("return {}", Some(vec![])),
        ("return nil", None),
        ("", None),
    ] {
        let word = order_of(&format!("function rank(u) {text} end")).await;
        let Word::Order(order) = word else {
            panic!("{text}: {word:?}");
        };
        let expected: Option<Vec<String>> =
            expected.map(|names| names.into_iter().map(str::to_owned).collect());
        assert_eq!(order, expected, "{text}");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_a_failure_of_its_function() {
    for text in [
        "return 7",
        "return 'lte'",
        "return { {} }",
        "return { 1 }",
        "return true",
        "return print",
        "error('x')",
        "while true do end",
    ] {
        let word = order_of(&format!("function rank(u) {text} end")).await;
        assert!(matches!(word, Word::Failed("rank", _)), "{text}: {word:?}");
    }
}

#[tokio::test]
async fn a_veto_is_true_or_a_reason_and_every_question_has_an_answer() {
    for (text, expected, fails) in [
        ("return true", Some(""), false),
        ("return 'peak'", Some("peak"), false),
        ("return from:name() .. to:name()", Some("fibrelte"), false),
        ("return false", None, false),
        ("", None, false),
        ("return 7", None, true),
        ("while true do end", None, true),
    ] {
        let mut policy = start(&format!("function veto(from, to) {text} end"));
        let ready = next(&mut policy).await;
        assert!(matches!(
            ready,
            Some(Word::Ready {
                ranks: false,
                vetoes: true
            })
        ));
        policy.ask("fibre", "lte");
        if fails {
            let failed = next(&mut policy).await;
            assert!(
                matches!(failed, Some(Word::Failed("veto", _))),
                "{failed:?}"
            );
        }
        let Some(Word::Veto { veto, .. }) = next(&mut policy).await else {
            panic!("{text}");
        };
        assert_eq!(veto.as_deref(), expected, "{text}");
    }
}

#[tokio::test]
async fn a_script_that_cannot_begin_says_so_and_ends() {
    let mut policy = start("error('at once')");
    let failed = next(&mut policy).await;
    assert!(matches!(failed, Some(Word::Failed("the script", _))));
    assert!(next(&mut policy).await.is_none());
}

#[tokio::test]
async fn wishes_without_end_are_refused_and_names_are_checked() {
    let mut policy = start(
        "local refused = 0\n\
         for i = 1, 1000 do if not pcall(pingu.pin, 'lte') then refused = refused + 1 end end\n\
         local _, why = pcall(pingu.pin, 'cable')\n\
         error(refused .. ' ' .. why)",
    );
    let mut wishes = 0;
    loop {
        match next(&mut policy).await.expect("it fails in the end") {
            Word::Wish(Wish::Pin(Some(name))) => {
                assert_eq!(name, "lte");
                wishes += 1;
            }
            Word::Failed(_, error) => {
                let told = error.to_string();
                assert!(
                    told.contains("there is no uplink \"cable\"; there are: fibre, lte"),
                    "{told}"
                );
                assert!(told.contains(&format!("{}", 1000 - wishes)), "{told}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(wishes <= WISHES_MAX, "{wishes}");
}

#[tokio::test]
async fn a_call_under_way_is_seen_and_so_is_the_time_that_it_exceeds() {
    let mut policy = start("function rank() while true do end end");
    next(&mut policy).await;
    assert_eq!(policy.call_under_way(), None);
    policy.tell(vec![view("lte")]);
    let begin = Instant::now();
    while policy.call_under_way().is_none() {
        assert!(begin.elapsed() < PATIENCE, "the call begins");
        tokio::task::yield_now().await;
    }
    let failed = next(&mut policy).await;
    assert!(matches!(failed, Some(Word::Failed("rank", _))));
}
