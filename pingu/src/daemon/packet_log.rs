//! What the programs have to say of packets, where their object was built to say anything.

use tokio::io::{Interest, unix::AsyncFd};

use crate::probe::{kernel::KernelTransport, transport::Transport};

/// Passes it on to the log, at the levels that the programs chose, until the process ends. Does nothing with a release object.
pub(super) fn follow(transport: &mut Transport) {
    let Some(logger) = transport.kernel_mut().and_then(KernelTransport::logger) else {
        return;
    };
    // SAFETY: a logger keeps one ring buffer, whose descriptor it owns and never replaces.
    let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut logger = match logger {
        Ok(logger) => logger,
        Err(error) => {
            tracing::warn!(%error, "the programs' log cannot be read");
            return;
        }
    };
    tracing::info!("the eBPF programs log every echo packet: this object is for debugging");
    tokio::spawn(async move {
        while let Ok(mut ready) = logger.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    });
}
