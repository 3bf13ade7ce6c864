//! Questions to a resolver: by UDP, and by TCP where the answer is cut short. Only an answer to the very question counts.

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, RecordType},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    bound,
    meter::{Datagrams, Line},
    step,
};
use crate::{
    config::{DnsCheck, RecordKind},
    engine::check::{Cause, CheckOutcome, Failure},
};

const PORT: u16 = 53;

/// A datagram may be lost without the uplink being to blame: the question is repeated after this.
const REPEAT_AFTER: Duration = Duration::from_secs(1);

/// With several resolvers, the next one is asked after this at the latest.
const NEXT_RESOLVER_AFTER: Duration = Duration::from_millis(2500);

/// What any answer without EDNS fits in is 512 (RFC 1035 section 2.3.4); some resolvers send more.
const DATAGRAM_BYTES: usize = 4096;

/// Where a message says how many records follow its questions (RFC 1035 section 4.1.1).
const RECORD_COUNTS: Range<usize> = 6..12;

/// Strange datagrams are skipped, but not for ever.
const STRANGERS_MAX: usize = 64;

/// As many addresses as text shows, and as are tried.
const ADDRESSES_MAX: usize = 4;

/// An alias of an alias is rare; resolvers themselves give up after about so many.
const ALIASES_MAX: usize = 16;

/// Runs a `dns` check.
pub(super) async fn run(way: &Line<'_>, check: &DnsCheck, deadline: Instant) -> CheckOutcome {
    let kind = record_type(check.record);
    let answer = ask(way, check.resolver, &check.name, kind, deadline).await?;
    if check.expect.is_empty() {
        let count = answer.of_kind(kind).count();
        return Ok(match answer.addresses() {
            addresses if addresses.is_empty() => format!("{count} records of {}", check.name),
            addresses => format!("{} is {}", check.name, list(&addresses)),
        });
    }
    let addresses = answer.addresses();
    if addresses
        .iter()
        .any(|address| check.expect.contains(address))
    {
        return Ok(format!("{} is {}", check.name, list(&addresses)));
    }
    let text = format!(
        "{} says that {} is {}, which is not expected",
        check.resolver,
        check.name,
        list(&addresses)
    );
    Err(Failure::new(Cause::Portal, text))
}

/// The addresses of a host, of the families that the way has. The resolvers are asked one after the other until one answers.
pub(super) async fn resolve(
    way: &Line<'_>,
    resolvers: &[IpAddr],
    name: &str,
    deadline: Instant,
) -> Result<Vec<IpAddr>, Failure> {
    let usable = resolvers
        .iter()
        .filter(|resolver| way.exit(resolver.is_ipv6()).is_some());
    let mut left = usable.clone().count() as u32;
    let mut last = Failure::local("no resolver", &way.interface);
    for resolver in usable {
        let until = turn(tokio::time::Instant::now().into(), left, deadline);
        left -= 1;
        match addresses_of(way, *resolver, name, until).await {
            Ok(addresses) => return Ok(addresses),
            Err(failure) => last = failure,
        }
    }
    let text = format!("{name} cannot be resolved: {last}");
    let cause = match last.cause {
        Cause::Local => Cause::Local,
        _ => Cause::Resolve,
    };
    Err(Failure::new(cause, text))
}

/// Until when a resolver is waited for, with whom so many are left: each of these needs time, and so does what the address is for.
fn turn(now: Instant, left: u32, deadline: Instant) -> Instant {
    if left <= 1 {
        return deadline;
    }
    let share = deadline.saturating_duration_since(now) / (left + 1);
    now + share.min(NEXT_RESOLVER_AFTER)
}

/// What one resolver says: the addresses of the first family that a host has any of.
async fn addresses_of(
    way: &Line<'_>,
    resolver: IpAddr,
    name: &str,
    until: Instant,
) -> Result<Vec<IpAddr>, Failure> {
    let kinds = [(way.v4, RecordType::A), (way.v6, RecordType::AAAA)];
    let kinds = kinds.iter().filter(|(exit, _)| exit.is_some());
    let mut told: Option<Failure> = None;
    for (_, kind) in kinds {
        let failure = match ask(way, resolver, name, *kind, until).await {
            Ok(answer) => {
                let mut addresses = answer.addresses();
                addresses.truncate(ADDRESSES_MAX);
                return Ok(addresses);
            }
            Err(failure) => failure,
        };
        let has_answered = matches!(
            failure.cause,
            Cause::Dns | Cause::Nxdomain | Cause::Servfail
        );
        // That there are no addresses of the other family explains nothing.
        told = told
            .filter(|_| failure.cause == Cause::Dns)
            .or(Some(failure));
        if !has_answered {
            break;
        }
    }
    Err(told.unwrap_or_else(|| Failure::local("no address", &way.interface)))
}

/// An answer without error that has records of the kind that was asked for.
struct Answer(Message);

impl Answer {
    fn of_kind(&self, kind: RecordType) -> impl Iterator<Item = &RData> {
        let records = self.0.answers.iter();
        records
            .filter(move |record| record.record_type() == kind)
            .map(|record| &record.data)
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let address = |data: &RData| match data {
            RData::A(v4) => Some(IpAddr::V4(v4.0)),
            RData::AAAA(v6) => Some(IpAddr::V6(v6.0)),
            _ => None,
        };
        let records = self.0.answers.iter();
        records.filter_map(|record| address(&record.data)).collect()
    }
}

async fn ask(
    way: &Line<'_>,
    resolver: IpAddr,
    name: &str,
    kind: RecordType,
    deadline: Instant,
) -> Result<Answer, Failure> {
    let peer = bound::at(resolver, PORT);
    let question = question(name, kind).map_err(|error| Failure::local(name, error))?;
    let bytes = question
        .to_vec()
        .map_err(|error| Failure::local(name, error))?;
    let doing = format!("resolver {resolver} does not answer");
    let mut strangers = 0;
    let by_datagram = async {
        let socket = bound::datagrams(way, peer).await?;
        repeat(&socket, resolver, &question, &bytes, &mut strangers).await
    };
    let outcome = step(deadline, &doing, by_datagram).await;
    let mut answer = outcome.map_err(|mut failure| {
        if failure.cause == Cause::Timeout && strangers > 0 {
            failure.text += &format!(" the question (of what it sent, {strangers} are no answer)");
        }
        failure
    })?;
    if answer.metadata.truncation {
        let doing = format!("resolver {resolver} does not answer by TCP");
        let by_stream = by_stream(way, peer, &question, &bytes, deadline);
        answer = step(deadline, doing, by_stream).await?;
    }
    judge(answer, resolver, name, kind)
}

/// A question with a random number.
fn question(name: &str, kind: RecordType) -> Result<Message, hickory_proto::ProtoError> {
    let mut name = Name::from_ascii(name)?;
    name.set_fqdn(true);
    let mut message = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    Ok(message)
}

/// Asks by UDP until the answer comes.
async fn repeat(
    socket: &Datagrams,
    resolver: IpAddr,
    question: &Message,
    bytes: &[u8],
    strangers: &mut usize,
) -> Result<Message, Failure> {
    let failed = |error| bound::failure(format!("cannot ask resolver {resolver}"), &error);
    loop {
        socket.send(bytes).await.map_err(failed)?;
        let heard = async {
            let mut datagram = vec![0; DATAGRAM_BYTES];
            for _ in 0..STRANGERS_MAX {
                let count = socket.receive(&mut datagram).await.map_err(failed)?;
                if let Some(answer) = answer_to(question, &datagram[..count]) {
                    return Ok(answer);
                }
                *strangers += 1;
            }
            let text = format!("resolver {resolver} answers what was not asked");
            Err(Failure::new(Cause::Dns, text))
        };
        if let Ok(outcome) = tokio::time::timeout(REPEAT_AFTER, heard).await {
            return outcome;
        }
    }
}

/// Asks by TCP (RFC 1035 section 4.2.2).
async fn by_stream(
    way: &Line<'_>,
    peer: SocketAddr,
    question: &Message,
    bytes: &[u8],
    deadline: Instant,
) -> Result<Message, Failure> {
    let failed = |error| bound::failure(format!("cannot ask resolver {peer} by TCP"), &error);
    let mut stream = bound::connect(way, peer, deadline).await?;
    let count = u16::try_from(bytes.len()).map_err(|error| Failure::local("question", error))?;
    let mut framed = count.to_be_bytes().to_vec();
    framed.extend_from_slice(bytes);
    stream.write_all(&framed).await.map_err(failed)?;
    let mut answer = vec![0; usize::from(stream.read_u16().await.map_err(failed)?)];
    stream.read_exact(&mut answer).await.map_err(failed)?;
    answer_to(question, &answer).ok_or_else(|| {
        let text = format!("resolver {peer} answers by TCP what was not asked");
        Failure::new(Cause::Dns, text)
    })
}

/// The message, if it answers the question.
fn answer_to(question: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = message(bytes)?;
    let asked = question.queries.first()?;
    let is_asked = match answer.queries.as_slice() {
        [repeated] => {
            repeated.name().eq_ignore_root(asked.name())
                && repeated.query_type() == asked.query_type()
                && repeated.query_class() == DNSClass::IN
        }
        // Who refuses may leave the question out.
        [] => answer.metadata.response_code != ResponseCode::NoError,
        _ => false,
    };
    let is_it = is_asked
        && answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.metadata.op_code == OpCode::Query;
    is_it.then_some(answer)
}

/// Reads a message. Of one that says it is cut short, and was cut amid its records, only the question counts.
fn message(bytes: &[u8]) -> Option<Message> {
    if let Ok(message) = Message::from_vec(bytes) {
        return Some(message);
    }
    let mut beginning = bytes.to_vec();
    beginning.get_mut(RECORD_COUNTS)?.fill(0);
    let message = Message::from_vec(&beginning).ok()?;
    message.metadata.truncation.then_some(message)
}

fn judge(
    answer: Message,
    resolver: IpAddr,
    name: &str,
    kind: RecordType,
) -> Result<Answer, Failure> {
    let fail = |cause, what: String| Err(Failure::new(cause, format!("{resolver} says {what}")));
    match answer.metadata.response_code {
        ResponseCode::NoError => {}
        ResponseCode::NXDomain => {
            return fail(
                Cause::Nxdomain,
                format!("that there is no {name} (NXDOMAIN)"),
            );
        }
        ResponseCode::ServFail => {
            return fail(Cause::Servfail, format!("SERVFAIL for {name}"));
        }
        other => return fail(Cause::Dns, format!("\"{other}\" for {name}")),
    }
    let answer = Answer(about(answer));
    if answer.of_kind(kind).next().is_none() {
        return fail(Cause::Dns, format!("that {name} has no {kind} record"));
    }
    Ok(answer)
}

/// The message without the answers that are of other names than the one asked for and those that its aliases lead to (RFC 1034 section
/// 3.6.2): nobody asked for these.
fn about(mut answer: Message) -> Message {
    let Some(asked) = answer.queries.first().map(|query| query.name().clone()) else {
        return answer;
    };
    let mut names = vec![asked];
    for _ in 0..ALIASES_MAX {
        let last = names.last().expect("it begins with one");
        let mut aliases = answer.answers.iter();
        let next = aliases.find_map(|record| match &record.data {
            RData::CNAME(target) if record.name.eq_ignore_root(last) => Some(target.0.clone()),
            _ => None,
        });
        names.extend(next);
    }
    let is_asked = |owner: &Name| names.iter().any(|name| name.eq_ignore_root(owner));
    answer.answers.retain(|record| is_asked(&record.name));
    answer
}

fn record_type(kind: RecordKind) -> RecordType {
    match kind {
        RecordKind::A => RecordType::A,
        RecordKind::Aaaa => RecordType::AAAA,
        RecordKind::Mx => RecordType::MX,
        RecordKind::Ns => RecordType::NS,
        RecordKind::Soa => RecordType::SOA,
        RecordKind::Txt => RecordType::TXT,
    }
}

fn list(addresses: &[IpAddr]) -> String {
    let shown: Vec<String> = addresses
        .iter()
        .take(ADDRESSES_MAX)
        .map(ToString::to_string)
        .collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests;
