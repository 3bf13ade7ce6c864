//! Limits of this process that a router with many uplinks meets.

use std::io;

use crate::{config::Config, daemon::checks::RUNS_MAX};

/// A packet socket and two links to the hooks.
const FILES_PER_UPLINK: u64 = 3;

/// A socket, or a program's handle and its pipe.
const FILES_PER_RUN: u64 = 4;

/// Programs, maps, netlink, the control socket and its clients, with room to spare.
const FILES_BESIDE: u64 = 64;

/// Raises the limit of open files as far as the kernel lets it (`RLIMIT_NOFILE`, getrlimit(2)), and says so where that is too
/// little for so many uplinks.
pub(super) fn raise_open_files(config: &Config) {
    let checks: usize = config
        .uplinks
        .iter()
        .map(|uplink| uplink.checks.len())
        .sum();
    let runs = checks.min(RUNS_MAX) as u64;
    let needed =
        FILES_PER_UPLINK * config.uplinks.len() as u64 + FILES_PER_RUN * runs + FILES_BESIDE;
    match raise(needed) {
        Ok(limit) if limit >= needed => {}
        Ok(limit) => tracing::warn!(
            limit,
            needed,
            "this process may open too few files for all uplinks: raise its hard limit (LimitNOFILE= of systemd)"
        ),
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be seen or changed"),
    }
}

fn raise(needed: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live `rlimit`.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur >= needed {
        return Ok(limit.rlim_cur);
    }
    limit.rlim_cur = limit.rlim_max.min(needed);
    if limit.rlim_max < needed {
        // CAP_SYS_RESOURCE lifts the hard limit, too; without it the first attempt fails and the second is what is allowed.
        let lifted = libc::rlimit {
            rlim_cur: needed,
            rlim_max: needed,
        };
        // SAFETY: as above.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const lifted) } == 0 {
            return Ok(needed);
        }
    }
    // SAFETY: as above.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_hard_limit_allows_is_had() {
        let now = raise(0).expect("the limit can be read");
        assert_eq!(raise(now).expect("nothing to do"), now);
        assert!(raise(now + 1).expect("the rest is allowed or refused politely") >= now);
    }
}
