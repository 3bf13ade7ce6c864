//! Whose answer it is.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::config::{CheckKind, Config};

fn check(kind: &str, lines: &str) -> HttpCheck {
    let text = format!(
        "[probe]\ntargets = [\"192.0.2.1\"]\n[[uplink]]\nname = \"u\"\ninterface = \"wan0\"\n\
         [[uplink.check]]\nkind = \"{kind}\"\nurl = \"{kind}://web.example/\"\naddress = \"192.0.2.1\"\n{lines}\n"
    );
    let (config, _) = Config::parse(&text, "f").unwrap_or_else(|problems| panic!("{problems}"));
    match &config.uplinks[0].checks[0].kind {
        CheckKind::Http(check) => check.clone(),
        other => panic!("{other:?}"),
    }
}

fn cause(check: &HttpCheck, status: u16, location: Option<&str>, has_text: bool) -> Option<Cause> {
    let answer = Answer {
        status,
        location: location.map(str::to_owned),
        has_text,
    };
    answer.judge(check).err().map(|failure| failure.cause)
}

#[test]
fn an_unexpected_answer_is_a_portal_s_unless_the_server_must_have_given_it() {
    use Cause::{Body, Portal, Status};
    let plain = check("http", "status = 204");
    let page = check("http", "status = [200, \"3xx\"]\nbody = \"x\"");
    let sure = check("https", "status = 204");
    let unsure = check("https", "status = 204\nverify = false");
    let sure_page = check("https", "body = \"x\"");
    let away = Some("http://login.example/?a");
    let here = Some("https://WEB.example/there");
    for (check, status, location, has_text, expected) in [
        (&plain, 204, None, true, None),
        (&plain, 200, None, true, Some(Portal)),
        (&plain, 302, away, true, Some(Portal)),
        (&plain, 307, here, true, Some(Status)),
        (&plain, 302, Some("/there"), true, Some(Status)),
        (&plain, 302, Some("//login.example/a"), true, Some(Portal)),
        (&plain, 302, Some("//Web.example:80/a"), true, Some(Status)),
        (&plain, 302, None, true, Some(Portal)),
        (&plain, 404, None, true, Some(Portal)),
        (&plain, 500, None, true, Some(Status)),
        (&plain, 503, away, true, Some(Status)),
        (&plain, 511, None, true, Some(Portal)),
        (&page, 200, None, true, None),
        (&page, 200, None, false, Some(Portal)),
        (&page, 302, away, true, None),
        (&page, 399, None, true, None),
        (&sure, 200, None, true, Some(Status)),
        (&sure, 404, None, true, Some(Status)),
        (&sure, 302, away, true, Some(Portal)),
        (&unsure, 200, None, true, Some(Portal)),
        (&sure_page, 200, None, false, Some(Body)),
    ] {
        let found = cause(check, status, location, has_text);
        assert_eq!(found, expected, "{status} {location:?} {has_text}");
    }
}

#[test]
fn what_a_portal_says_is_fit_for_a_log() {
    let long = format!("http://login.example/\u{1b}[31m{}", "a".repeat(1000));
    let answer = Answer {
        status: 302,
        location: Some(long),
        has_text: true,
    };
    let failure = answer.judge(&check("http", "")).unwrap_err();
    assert!(failure.text.len() < 300 && !failure.text.contains('\u{1b}'));
}

/// What a check makes of an answer, after which the connection ends.
fn outcome(check: &HttpCheck, answer: &'static str) -> CheckOutcome {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().expect("a runtime without drivers");
    runtime.block_on(async {
        let (near, mut far) = tokio::io::duplex(4096);
        let server = tokio::spawn(async move {
            let mut request = vec![0; 4096];
            let count = far.read(&mut request).await.unwrap();
            request.truncate(count);
            far.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        let outcome = exchange(near, check).await;
        let request = server.await.unwrap();
        assert!(
            request.contains("accept-encoding: identity\r\n"),
            "{request}"
        );
        outcome
    })
}

#[test]
fn a_body_that_breaks_off_before_its_text_is_no_portal_s() {
    let check = check("http", "body = \"Success\"");
    let cause = |answer| outcome(&check, answer).err().map(|failure| failure.cause);
    assert_eq!(
        cause("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nSuccess"),
        None
    );
    assert_eq!(
        cause("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n<html>"),
        Some(Cause::Broken)
    );
    assert_eq!(
        cause("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"),
        Some(Cause::Portal)
    );
    assert_eq!(cause("HTTP/1.1 200 OK\r\n\r\n<html>"), Some(Cause::Portal));
}

#[test]
fn a_connection_that_ends_is_not_said_to_speak_something_else() {
    let check = check("http", "");
    let text = |answer| outcome(&check, answer).unwrap_err().text;
    assert!(text("").contains("breaks off"), "{}", text(""));
    let strange = text("SSH-2.0-server\r\n");
    assert!(strange.contains("does not speak HTTP"), "{strange}");
}
