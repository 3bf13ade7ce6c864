//! A program that probes on its own, watched from outside for a while: what it sent, what came back, what it was charged. Its start and
//! its end cost nothing here.

use std::{
    fs, io, mem,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{cpu, namespace::Namespace, probe::Run};

/// A veth pair's two namespaces and what their kernels count.
#[derive(Clone, Debug)]
pub(super) struct Counters {
    prober: PathBuf,
    answerer: PathBuf,
}

impl Counters {
    pub(super) fn new(prober: &Namespace, answerer: &Namespace) -> Self {
        let path = |namespace: &Namespace| {
            PathBuf::from(format!(
                "/proc/self/task/{}/net/snmp",
                namespace.thread_id()
            ))
        };
        Self {
            prober: path(prober),
            answerer: path(answerer),
        }
    }

    /// Requests that the answering kernel took in, and replies that it made.
    pub(super) fn answered(&self) -> Result<(u64, u64)> {
        let text = fs::read_to_string(&self.answerer)?;
        Ok((icmp(&text, "InEchos")?, icmp(&text, "OutEchoReps")?))
    }

    /// Replies that the prober's kernel took in.
    pub(super) fn returned(&self) -> Result<u64> {
        icmp(&fs::read_to_string(&self.prober)?, "InEchoReps")
    }
}

/// A value of the lines `Icmp:` of /proc/net/snmp.
pub(super) fn icmp(snmp: &str, name: &str) -> Result<u64> {
    let mut lines = snmp.lines().filter(|line| line.starts_with("Icmp:"));
    let (names, values) = lines.next().zip(lines.next()).context("no Icmp lines")?;
    let mut columns = names.split(' ').zip(values.split(' '));
    let (_, value) = columns
        .find(|(column, _)| *column == name)
        .with_context(|| format!("no {name}"))?;
    Ok(value.parse()?)
}

/// Whose replies count as answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replies {
    /// Those that the prober's kernel took in: for programs with sockets.
    Returned,
    /// Those that the answering kernel made: pingu's own programs take its replies before the kernel sees them.
    Made,
}

/// Running programs, as one.
pub(super) struct Watched {
    children: Vec<Child>,
}

impl Watched {
    /// Starts programs in a namespace, where they inherit the core of its thread.
    pub(super) fn start(namespace: &Namespace, commands: Vec<Vec<String>>) -> Result<Self> {
        let many = commands.len() > 1;
        namespace.run(move || {
            let mut watched = Self {
                children: Vec::with_capacity(commands.len()),
            };
            for words in commands {
                let (program, arguments) = words.split_first().context("an empty command")?;
                let mut command = Command::new(program);
                command.args(arguments);
                command.stdin(Stdio::null()).stdout(Stdio::null());
                command.stderr(Stdio::null());
                // SAFETY: prctl is async-signal-safe and touches only the child.
                unsafe {
                    command.pre_exec(|| {
                        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                        Ok(())
                    });
                }
                let child = command.spawn();
                let child = child.with_context(|| format!("cannot run `{program}`"))?;
                watched.children.push(child);
                // A thousand that run already would keep the rest from being started.
                if many {
                    watched.signal_last(libc::SIGSTOP);
                }
            }
            if many {
                watched.signal_all(libc::SIGCONT);
            }
            Ok(watched)
        })
    }

    /// Watches for so long, after so long; all threads are on one core then, wherever the program has put them.
    pub(super) fn measure(
        &mut self,
        counters: &Counters,
        replies: Replies,
        core: Option<usize>,
        [warm_up, length]: [Duration; 2],
    ) -> Result<Run> {
        thread::sleep(warm_up / 2);
        if let Some(core) = core {
            self.pin(core)?;
        }
        thread::sleep(warm_up / 2);
        // Thousands of threads take a while to read. Each is read as long after the counters at the end as at the beginning.
        let begin = Instant::now();
        let (sent, made) = counters.answered()?;
        let returned = counters.returned()?;
        let cpu = self.cpu()? + cpu::softirq_threads_time()?;
        thread::sleep(length);
        let elapsed = begin.elapsed();
        let (sent_after, made_after) = counters.answered()?;
        let answered = match replies {
            Replies::Returned => counters.returned()? - returned,
            Replies::Made => made_after - made,
        };
        let cpu = (self.cpu()? + cpu::softirq_threads_time()?).saturating_sub(cpu);
        for child in &mut self.children {
            ensure!(child.try_wait()?.is_none(), "a prober ended on its own");
        }
        ensure!(sent_after > sent, "a prober sent nothing");
        Ok(Run {
            sent: sent_after - sent,
            // The looks at the two counters are not at one instant.
            answered: answered.min(sent_after - sent),
            elapsed,
            cpu,
        })
    }

    /// What all threads have been charged, with the softirq work done in their names.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let of = |child: &Child| cpu::process_time(child.id());
        self.children.iter().map(of).sum()
    }

    fn signal_all(&self, signal: i32) {
        for child in &self.children {
            // SAFETY: a plain system call; the child has not been waited for, so its id is still its own.
            unsafe { libc::kill(child.id() as i32, signal) };
        }
    }

    fn signal_last(&self, signal: i32) {
        if let Some(child) = self.children.last() {
            // SAFETY: as above.
            unsafe { libc::kill(child.id() as i32, signal) };
        }
    }

    /// The first program's process id.
    pub(super) fn id(&self) -> u32 {
        self.children[0].id()
    }

    fn pin(&self, core: usize) -> Result<()> {
        for child in &self.children {
            for task in fs::read_dir(format!("/proc/{}/task", child.id()))? {
                let name = task?.file_name();
                let task = name.to_str().and_then(|name| name.parse().ok());
                let task: i32 = task.context("a task has a number")?;
                // SAFETY: the set is initialised by zeroing, as CPU_ZERO does, and lives through the call.
                let result = unsafe {
                    let mut set: libc::cpu_set_t = mem::zeroed();
                    libc::CPU_SET(core, &mut set);
                    libc::sched_setaffinity(task, size_of::<libc::cpu_set_t>(), &set)
                };
                let error = io::Error::last_os_error();
                let is_pinned = result == 0 || error.raw_os_error() == Some(libc::ESRCH);
                ensure!(is_pinned, "cannot pin {task} to core {core}: {error}");
            }
        }
        Ok(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // It fails only where one has already ended.
        self.signal_all(libc::SIGKILL);
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_found_by_its_name_among_the_icmp_lines_only() {
        let text = "Ip: InEchos A\nIp: 1 2\nIcmp: InMsgs InEchos InEchoReps\nIcmp: 9 7 5\nIcmpMsg: InType0\nIcmpMsg: 3\n";
        assert_eq!(icmp(text, "InEchos").unwrap(), 7);
        assert_eq!(icmp(text, "InEchoReps").unwrap(), 5);
        assert!(icmp(text, "InType0").is_err());
    }
}
