//! Looks through the connection table and deletes while it reads: what is held in memory is one datagram's worth.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR};

use crate::netlink::{
    codec::push_attribute,
    conntrack::{
        ConntrackError, Job,
        entry::{CTA_MARK, CTA_MARK_MASK, Entry},
    },
    netfilter::{Netfilter, body},
};

/// `NFNL_SUBSYS_CTNETLINK`.
const CONNTRACK: u16 = 1 << 8;
/// `IPCTNL_MSG_CT_GET`.
const GET: u16 = CONNTRACK | 1;
/// `IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = CONNTRACK | 2;

/// How often a look that was interrupted is repeated. What it showed has been deleted by then, so each has less to do.
const PASSES_MAX: usize = 8;

/// Deletions sent at once. Their acknowledgements wait in the receive buffer, at about a kilobyte each of its 200.
const DELETIONS_AT_ONCE: usize = 64;

/// Deletes every entry that belongs to a job, and counts it there.
pub(super) fn sweep(jobs: &mut [Job]) -> Result<(), ConntrackError> {
    let is_empty = |job: &Job| job.selector.mark.is_none() && job.selector.addresses.is_empty();
    if jobs.iter().all(is_empty) {
        return Ok(());
    }
    for _ in 0..PASSES_MAX {
        if pass(jobs)? {
            return Ok(());
        }
    }
    Err(ConntrackError::Interrupted(PASSES_MAX))
}

/// One look; false if it may have missed something.
fn pass(jobs: &mut [Job]) -> Result<bool, ConntrackError> {
    let mut dump = Netfilter::open().map_err(ConntrackError::Unavailable)?;
    let mut deletions = Netfilter::open().map_err(ConntrackError::Unavailable)?;
    let mut request = Vec::new();
    let sequence = dump.push(&mut request, GET, NLM_F_DUMP, &look(jobs));
    dump.send(&request)
        .map_err(|error| refused(READING, error))?;
    let (mut whole, mut done) = (true, false);
    while !done {
        let mut found: Vec<(usize, Vec<u8>)> = Vec::new();
        let answers = match dump.receive() {
            Err(error) if is_passing(error.raw_os_error()) => return Ok(false),
            answers => answers.map_err(|error| refused(READING, error))?,
        };
        for answer in answers.filter(|answer| answer.sequence == sequence) {
            whole &= answer.flags & NLM_F_DUMP_INTR == 0;
            match answer.errno() {
                Some(0) => done = true,
                Some(errno) if is_passing(Some(errno)) => return Ok(false),
                Some(errno) => return Err(reading(errno)),
                None => found.extend(owner(answer.body, jobs)),
            }
        }
        for chunk in found.chunks(DELETIONS_AT_ONCE) {
            delete(&mut deletions, chunk, jobs)?;
        }
    }
    Ok(whole)
}

const READING: &str = "cannot read the kernel's connection table";
const DELETING: &str = "cannot delete from the kernel's connection table";

/// The request for the table of both families; by the kernel's own filter where one mark is all that is asked for.
fn look(jobs: &[Job]) -> Vec<u8> {
    let mut request = body(0);
    if let [job] = jobs
        && job.selector.addresses.is_empty()
        && let Some(mark) = job.selector.mark
    {
        push_attribute(&mut request, CTA_MARK, &mark.value.to_be_bytes());
        push_attribute(&mut request, CTA_MARK_MASK, &mark.mask.to_be_bytes());
    }
    request
}

/// The first job that an entry belongs to, and how to delete it.
fn owner(body: &[u8], jobs: &[Job]) -> Option<(usize, Vec<u8>)> {
    let entry = Entry::read(body)?;
    let job = jobs
        .iter()
        .position(|job| entry.belongs_to(&job.selector))?;
    Some((job, entry.deletion()))
}

/// Deletes these entries and waits for every answer.
fn delete(
    socket: &mut Netfilter,
    entries: &[(usize, Vec<u8>)],
    jobs: &mut [Job],
) -> Result<(), ConntrackError> {
    let mut batch = Vec::new();
    let mut first = None;
    for (_, entry) in entries {
        let sequence = socket.push(&mut batch, DELETE, NLM_F_ACK, entry);
        first.get_or_insert(sequence);
    }
    let Some(first) = first else { return Ok(()) };
    socket
        .send(&batch)
        .map_err(|error| refused(DELETING, error))?;
    let mut waiting = entries.len();
    while waiting > 0 {
        let answers = socket.receive().map_err(|error| refused(DELETING, error))?;
        for answer in answers {
            let place = answer.sequence.wrapping_sub(first) as usize;
            let (Some(errno), Some((job, _))) = (answer.errno(), entries.get(place)) else {
                continue;
            };
            waiting = waiting.saturating_sub(1);
            let deleted = &mut jobs[*job].deleted;
            match errno {
                0 => deleted.entries += 1,
                // It ended by itself, or another one took its place.
                libc::ENOENT => {}
                libc::EBUSY => deleted.offloaded += 1,
                errno => return Err(refused(DELETING, io::Error::from_raw_os_error(errno))),
            }
        }
    }
    Ok(())
}

/// Whether another look may do better.
fn is_passing(errno: Option<i32>) -> bool {
    matches!(
        errno,
        Some(libc::EAGAIN | libc::EBUSY | libc::EINTR | libc::ENOBUFS)
    )
}

/// Why a dump was refused. nfnetlink answers EINVAL for a part of it that is not there.
fn reading(errno: i32) -> ConntrackError {
    let source = io::Error::from_raw_os_error(errno);
    match errno {
        libc::EINVAL | libc::ENOENT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT => {
            ConntrackError::Unavailable(source)
        }
        _ => refused(READING, source),
    }
}

fn refused(what: &'static str, source: io::Error) -> ConntrackError {
    ConntrackError::Refused { what, source }
}
