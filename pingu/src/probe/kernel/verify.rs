//! Loading a program although a signal interrupts the kernel's verifier.

use std::{error::Error, io};

use aya::programs::ProgramError;

/// How often a program is offered. The verifier gives up with EAGAIN whenever a signal is pending, so an attempt fails for as long as
/// signals come more often than it takes (some milliseconds); libbpf tries five times.
const ATTEMPTS_MAX: u32 = 16;

/// Loads a program, again if a signal came in between.
pub(super) fn load_uninterrupted(
    mut load: impl FnMut() -> Result<(), ProgramError>,
) -> Result<(), ProgramError> {
    for _ in 1..ATTEMPTS_MAX {
        match load() {
            Err(error) if is_interrupted(&error) => {}
            result => return result,
        }
    }
    load()
}

fn is_interrupted(error: &ProgramError) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    matches!(
        cause.and_then(io::Error::raw_os_error),
        Some(libc::EAGAIN | libc::EINTR)
    )
}

#[cfg(test)]
mod tests {
    use aya::sys::SyscallError;

    use super::*;

    fn refusal(errno: i32) -> ProgramError {
        ProgramError::SyscallError(SyscallError {
            call: "bpf_prog_load",
            io_error: io::Error::from_raw_os_error(errno),
        })
    }

    /// Loads from a kernel that gives these answers and then accepts. Returns the attempts.
    fn attempts(answers: &[i32]) -> (u32, bool) {
        let mut calls = 0;
        let mut answers = answers.iter();
        let result = load_uninterrupted(|| {
            calls += 1;
            answers.next().map_or(Ok(()), |&errno| Err(refusal(errno)))
        });
        (calls, result.is_ok())
    }

    #[test]
    fn an_interrupted_load_is_tried_again() {
        assert_eq!(attempts(&[]), (1, true));
        assert_eq!(attempts(&[libc::EAGAIN, libc::EINTR]), (3, true));
    }

    #[test]
    fn a_refusal_is_final() {
        assert_eq!(attempts(&[libc::EACCES]), (1, false));
        assert_eq!(attempts(&[libc::EAGAIN, libc::EINVAL]), (2, false));
    }

    #[test]
    fn a_load_that_is_always_interrupted_ends() {
        assert_eq!(attempts(&[libc::EAGAIN; 64]), (ATTEMPTS_MAX, false));
    }
}
