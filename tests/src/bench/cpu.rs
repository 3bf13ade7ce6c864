//! Processor time, exact: what the scheduler charged, not what a 4 ms tick happened to see.

use std::{fs, mem, time::Duration};

use anyhow::{Context, Result};

/// Keeps the calling thread, and whatever it starts from then on, on one core.
pub fn pin(core: usize) -> Result<()> {
    // SAFETY: the set is initialised by zeroing, as CPU_ZERO does, and lives through the call; 0 names this thread.
    let result = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if result != 0 {
        return Err(std::io::Error::last_os_error())
            .with_context(|| format!("cannot pin to core {core}"));
    }
    Ok(())
}

/// What the calling thread has used, with the softirq work done in its name. Not getrusage(2), which for a thread that runs knows only
/// what the last tick knew.
pub fn thread_time() -> Duration {
    // SAFETY: a plain system call that fills the structure.
    let time = unsafe {
        let mut time: libc::timespec = mem::zeroed();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time);
        time
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What all children that ended and were waited for have used, likewise.
pub fn children_time() -> Duration {
    // SAFETY: a plain system call that fills the structure.
    let usage = unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    };
    let of = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1_000);
    of(usage.ru_utime) + of(usage.ru_stime)
}

/// What all threads of a process that live have used, likewise.
pub fn process_time(process: u32) -> Result<Duration> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        // Threads come and go while the directory is read.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        total += charged(&text)?;
    }
    Ok(Duration::from_nanos(total))
}

/// How often all threads of a process have gone to sleep of their own accord, to be woken again.
pub fn wake_ups(process: u32) -> Result<u64> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let Ok(text) = fs::read_to_string(task?.path().join("status")) else {
            continue;
        };
        total += status_field(&text, "voluntary_ctxt_switches")?;
    }
    Ok(total)
}

/// A number in the `status` of a process or thread.
pub fn status_field(status: &str, name: &str) -> Result<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number
        .with_context(|| format!("no {name}"))?
        .parse()
        .with_context(|| format!("{name} is no number"))
}

fn charged(schedstat: &str) -> Result<u64> {
    let first = schedstat.split(' ').next();
    first
        .and_then(|field| field.parse().ok())
        .context("schedstat")
}

/// What the kernel's own softirq threads have used: network work that was put off goes to them.
pub fn softirq_threads_time() -> Result<Duration> {
    let mut total = 0;
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        // Processes come and go while the directory is read.
        let Ok(name) = fs::read_to_string(path.join("comm")) else {
            continue;
        };
        if name.starts_with("ksoftirqd/") {
            let text =
                fs::read_to_string(path.join("schedstat")).context("schedstat of ksoftirqd")?;
            total += charged(&text)?;
        }
    }
    Ok(Duration::from_nanos(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_a_status_is_found_by_its_whole_name() {
        let status = "Name:\tx\nVmRSS:\t  1234 kB\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t9\n";
        assert_eq!(status_field(status, "VmRSS").unwrap(), 1234);
        assert_eq!(status_field(status, "voluntary_ctxt_switches").unwrap(), 7);
        assert!(status_field(status, "Vm").is_err());
    }
}
