//! What the kernel tells of a connection (`struct tcp_info` of linux/tcp.h), and what that comes to on the wire. Pure.

use crate::engine::check::Cost;

/// A TCP header without options.
const TCP_BYTES: u64 = 20;

/// The timestamps that every segment carries where both ends want them (RFC 7323, with padding).
const TIMESTAMP_BYTES: u64 = 12;

/// Options of Linux's SYNs, and of most answers: segment size, SACK, timestamps, window scale.
const SYN_OPTION_BYTES: u64 = 20;

/// `TCPI_OPT_TIMESTAMPS`.
const HAS_TIMESTAMPS: u8 = 1;

// States (net/tcp_states.h).
const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const FIN_WAIT_1: u8 = 4;
const FIN_WAIT_2: u8 = 5;
const CLOSE: u8 = 7;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const CLOSING: u8 = 11;

// Where the fields begin, which never changes: the structure only grows.
const STATE_AT: usize = 0;
const OPTIONS_AT: usize = 5;
const BYTES_RECEIVED_AT: usize = 128;
const SEGMENTS_OUT_AT: usize = 136;
const SEGMENTS_IN_AT: usize = 140;
const BYTES_SENT_AT: usize = 200;

/// What is needed of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Info {
    state: u8,
    options: u8,
    /// Data, repeated data included.
    bytes_sent: u64,
    bytes_received: u64,
    segments_out: u32,
    segments_in: u32,
}

impl Info {
    /// Reads what the kernel wrote; none if it is too short.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let long = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        Some(Self {
            state: *bytes.get(STATE_AT)?,
            options: *bytes.get(OPTIONS_AT)?,
            bytes_sent: long(BYTES_SENT_AT)?,
            bytes_received: long(BYTES_RECEIVED_AT)?,
            segments_out: word(SEGMENTS_OUT_AT)?,
            segments_in: word(SEGMENTS_IN_AT)?,
        })
    }

    /// What the connection costs once it is closed, with IP headers of this length.
    pub(super) fn cost(&self, ip_bytes: u64) -> Cost {
        let data = self.bytes_sent + self.bytes_received;
        let (out, back) = (u64::from(self.segments_out), u64::from(self.segments_in));
        let was_open = match self.state {
            SYN_SENT => false,
            CLOSE => data > 0,
            _ => true,
        };
        if !was_open {
            // SYNs, and the reset that answered, if any did.
            let options = out * SYN_OPTION_BYTES;
            return Cost {
                packets: out + back,
                bytes: (out + back) * (ip_bytes + TCP_BYTES) + options,
            };
        }
        let timestamps = if self.options & HAS_TIMESTAMPS == 0 {
            0
        } else {
            TIMESTAMP_BYTES
        };
        let packets = out + back + self.segments_to_close();
        let handshake = 2 * (SYN_OPTION_BYTES - timestamps);
        Cost {
            packets,
            bytes: packets * (ip_bytes + TCP_BYTES + timestamps) + handshake + data,
        }
    }

    /// What follows once nobody holds the socket any more: the ends that are still open say so, and each is acknowledged.
    fn segments_to_close(&self) -> u64 {
        match self.state {
            ESTABLISHED => 4,
            FIN_WAIT_1 => 3,
            FIN_WAIT_2 | CLOSE_WAIT => 2,
            LAST_ACK | CLOSING => 1,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: u64 = 20 + 20;

    fn info(state: u8) -> Info {
        Info {
            state,
            options: HAS_TIMESTAMPS,
            bytes_sent: 0,
            bytes_received: 0,
            segments_out: 0,
            segments_in: 0,
        }
    }

    #[test]
    fn a_connection_costs_its_data_and_a_header_for_each_segment() {
        // SYN, SYN-ACK, ACK, request, ACK, answer with FIN, ACK; then FIN, ACK.
        let whole = Info {
            bytes_sent: 100,
            bytes_received: 500,
            segments_out: 4,
            segments_in: 3,
            ..info(CLOSE_WAIT)
        };
        let cost = whole.cost(20);
        assert_eq!(cost.packets, 9);
        assert_eq!(cost.bytes, 600 + 9 * (PLAIN + 12) + 2 * 8);
        assert_eq!(whole.cost(40).bytes, cost.bytes + 9 * 20);
        let plain = Info {
            options: 0,
            ..whole
        };
        assert_eq!(plain.cost(20).bytes, 600 + 9 * PLAIN + 2 * 20);
    }

    #[test]
    fn what_nobody_answers_costs_its_syns_and_a_refusal_its_reset() {
        let silent = Info {
            options: 0,
            segments_out: 3,
            ..info(SYN_SENT)
        };
        let cost = silent.cost(20);
        assert_eq!((cost.packets, cost.bytes), (3, 3 * (PLAIN + 20)));
        let refused = Info {
            options: 0,
            segments_out: 1,
            segments_in: 1,
            ..info(CLOSE)
        };
        let cost = refused.cost(20);
        assert_eq!((cost.packets, cost.bytes), (2, 2 * PLAIN + 20));
    }

    #[test]
    fn what_is_too_short_tells_nothing() {
        for length in 0..=BYTES_SENT_AT + 7 {
            assert_eq!(Info::read(&vec![1; length]), None, "{length}");
        }
        assert!(Info::read(&[1; BYTES_SENT_AT + 8]).is_some());
    }
}
