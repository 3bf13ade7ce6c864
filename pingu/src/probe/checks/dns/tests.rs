//! Which messages answer a question.

use hickory_proto::rr::Record;

use super::*;

fn asked() -> Message {
    question("web.example", RecordType::A).unwrap()
}

fn answer(change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = asked();
    message.metadata.message_type = MessageType::Response;
    change(&mut message);
    message.to_vec().unwrap()
}

fn ask_for(message: &mut Message, name: &str, kind: RecordType) {
    let name = Name::from_ascii(name).unwrap();
    message.queries = vec![Query::query(name, kind)];
}

#[test]
fn only_an_answer_to_the_very_question_counts() {
    let asked = asked();
    let with = |change: fn(&mut Message)| {
        let bytes = answer(|message| {
            message.metadata.id = asked.metadata.id;
            change(message);
        });
        answer_to(&asked, &bytes).is_some()
    };
    assert!(with(|_| {}));
    assert!(with(|m| ask_for(m, "WEB.example.", RecordType::A)));
    assert!(!with(|m| m.metadata.id ^= 1));
    assert!(!with(|m| m.metadata.message_type = MessageType::Query));
    assert!(!with(|m| m.metadata.op_code = OpCode::Status));
    assert!(!with(|m| m.queries.clear()));
    assert!(with(|m| {
        m.queries.clear();
        m.metadata.response_code = ResponseCode::Refused;
    }));
    assert!(!with(|m| ask_for(m, "web.example.org.", RecordType::A)));
    assert!(!with(|m| ask_for(m, "web.example.", RecordType::AAAA)));
    assert!(!with(|m| m.queries.push(m.queries[0].clone())));
}

#[test]
fn no_bytes_are_too_strange_to_read() {
    let asked = asked();
    let mut bytes = answer(|message| {
        message.metadata.id = asked.metadata.id;
        let name = Name::from_ascii("web.example.").unwrap();
        let address = "192.0.2.1".parse().unwrap();
        message.add_answer(Record::from_rdata(name, 1, RData::A(address)));
    });
    assert!(answer_to(&asked, &bytes).is_some());
    for length in 0..bytes.len() {
        let _ = answer_to(&asked, &bytes[..length]);
    }
    for place in 0..bytes.len() {
        for bit in 0..8 {
            bytes[place] ^= 1 << bit;
            let _ = answer_to(&asked, &bytes);
            bytes[place] ^= 1 << bit;
        }
    }
}

#[test]
fn two_questions_have_different_numbers() {
    let numbers: std::collections::BTreeSet<u16> = (0..100).map(|_| asked().metadata.id).collect();
    assert!(numbers.len() > 90, "{numbers:?}");
}

#[test]
fn records_of_other_names_answer_nothing_unless_an_alias_leads_there() {
    let judged = |records: &[(&str, Option<&str>)]| {
        let mut message = asked();
        message.metadata.message_type = MessageType::Response;
        for (owner, alias) in records {
            let name = |text: &str| Name::from_ascii(text).unwrap();
            let data = match alias {
                Some(target) => RData::CNAME(hickory_proto::rr::rdata::CNAME(name(target))),
                None => RData::A("192.0.2.1".parse().unwrap()),
            };
            message.add_answer(Record::from_rdata(name(owner), 1, data));
        }
        let resolver = "192.0.2.53".parse().unwrap();
        let judged = judge(message, resolver, "web.example", RecordType::A);
        judged.map_or(0, |answer| answer.addresses().len())
    };
    assert_eq!(judged(&[("Web.example.", None)]), 1);
    assert_eq!(judged(&[("evil.example.", None)]), 0);
    assert_eq!(
        judged(&[("evil.example.", None), ("web.example.", None)]),
        1
    );
    let (first, second) = (
        ("web.example.", Some("a.example.")),
        ("a.example.", Some("b.example.")),
    );
    assert_eq!(judged(&[("b.example.", None), second, first]), 1);
    assert_eq!(judged(&[("b.example.", None), second]), 0);
    assert_eq!(judged(&[("web.example.", Some("web.example."))]), 0);
}

#[test]
fn an_answer_that_is_cut_amid_a_record_is_known_to_be_cut_short() {
    let asked = asked();
    let cut = |truncation| {
        let mut bytes = answer(|message| {
            message.metadata.id = asked.metadata.id;
            message.metadata.truncation = truncation;
            let name = Name::from_ascii("web.example.").unwrap();
            let address = "192.0.2.1".parse().unwrap();
            message.add_answer(Record::from_rdata(name, 1, RData::A(address)));
        });
        bytes.truncate(bytes.len() - 2);
        answer_to(&asked, &bytes)
    };
    let heard = cut(true).expect("it has the question");
    assert!(heard.metadata.truncation && heard.answers.is_empty());
    assert!(cut(false).is_none());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "any instant will do")]
fn every_resolver_has_its_turn_in_the_time_that_there_is() {
    let begin = Instant::now();
    for (seconds, resolvers) in [(1, 2), (5, 2), (5, 4), (60, 4)] {
        let deadline = begin + Duration::from_secs(seconds);
        let mut now = begin;
        for left in (1..=resolvers).rev() {
            assert!(now < deadline, "{left} of {resolvers} in {seconds} s");
            let until = turn(now, left, deadline);
            assert!(until > now && until <= deadline);
            assert!(left == 1 || until - now <= NEXT_RESOLVER_AFTER);
            now = until;
        }
        assert_eq!(now, deadline);
    }
}
