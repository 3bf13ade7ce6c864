//! Whose answer it is.

use std::{net::Ipv4Addr, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 80);

/// Longer than any of these takes; what never ends here fails by it.
const PATIENCE: Duration = Duration::from_secs(2);

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
        encoding: None,
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
        (&plain, 302, Some("login.html"), true, Some(Status)),
        (&plain, 302, Some("/a page:1"), true, Some(Status)),
        (&plain, 302, Some("?a=b://c"), true, Some(Status)),
        (
            &plain,
            302,
            Some("http://web.example/a page"),
            true,
            Some(Status),
        ),
        (
            &plain,
            302,
            Some("http://web.example.org/"),
            true,
            Some(Portal),
        ),
        (&plain, 302, Some("app:login"), true, Some(Portal)),
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
        (&sure, 302, away, true, Some(Status)),
        (&sure, 511, None, true, Some(Status)),
        (&unsure, 302, away, true, Some(Portal)),
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
        encoding: None,
        has_text: true,
    };
    let failure = answer.judge(&check("http", "")).unwrap_err();
    assert!(failure.text.len() < 300 && !failure.text.contains('\u{1b}'));
}

/// What a check makes of an answer, after which the connection ends.
fn outcome(check: &HttpCheck, answer: &'static str) -> CheckOutcome {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }
        .enable_time()
        .build()
        .expect("a runtime without sockets");
    runtime.block_on(async {
        let (near, mut far) = tokio::io::duplex(4096);
        let server = tokio::spawn(async move {
            let mut request = vec![0; 4096];
            let count = far.read(&mut request).await.unwrap();
            request.truncate(count);
            far.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let outcome = exchange(near, check, PEER, deadline.into()).await;
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

#[test]
fn a_wrong_status_needs_no_body_to_be_told() {
    let check = check("http", "body = \"Success\"");
    let cause = |answer| outcome(&check, answer).err().map(|failure| failure.cause);
    let portal =
        "HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\nContent-Length: 99\r\n\r\n<html>";
    assert_eq!(cause(portal), Some(Cause::Portal));
    let busy = "HTTP/1.1 503 Busy\r\nContent-Length: 99\r\n\r\n";
    assert_eq!(cause(busy), Some(Cause::Status));
}

#[test]
fn a_body_that_is_encoded_is_said_to_be() {
    let check = check("http", "body = \"Success\"");
    let answer = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc";
    let text = outcome(&check, answer).unwrap_err().text;
    assert!(text.ends_with("(its body is encoded: gzip)"), "{text}");
}

/// What a check makes of a server that begins with one text and repeats another for ever, each time after a pause.
fn outcome_of_endless(
    check: &HttpCheck,
    first: &'static str,
    more: &'static str,
    pause: Duration,
) -> CheckOutcome {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }
        .enable_time()
        .build()
        .expect("a runtime without sockets");
    runtime.block_on(async {
        let (near, mut far) = tokio::io::duplex(4096);
        tokio::spawn(async move {
            let _ = far.read(&mut [0; 4096]).await;
            let mut written = far.write_all(first.as_bytes()).await;
            while written.is_ok() {
                tokio::time::sleep(pause).await;
                written = far.write_all(more.as_bytes()).await;
            }
        });
        let deadline = tokio::time::Instant::now() + PATIENCE;
        exchange(near, check, PEER, deadline.into()).await
    })
}

#[test]
fn a_body_that_does_not_come_in_time_is_told_from_no_answer() {
    let check = check("http", "body = \"Success\"");
    let begin = "HTTP/1.1 200 OK\r\n\r\n";
    let pause = Duration::from_millis(50);
    let failure = outcome_of_endless(&check, begin, "x", pause).unwrap_err();
    assert_eq!(failure.cause, Cause::Timeout);
    let says = "answers 200, but the expected text does not come";
    assert!(failure.text.ends_with(says), "{}", failure.text);
}

#[test]
fn a_server_that_goes_on_without_an_answer_is_not_listened_to_for_ever() {
    let more = "HTTP/1.1 100 Continue\r\n\r\n";
    let more = more.repeat(100).leak();
    let outcome = outcome_of_endless(&check("http", ""), more, more, Duration::ZERO);
    assert_eq!(outcome.unwrap_err().cause, Cause::Broken);
}
