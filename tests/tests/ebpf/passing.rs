//! Programs that let matched replies go on into the stack, so that a capture behind native XDP sees them.

use crate::{
    harness::{RECEIVERS, Rig},
    packets::Echo,
    reference::Decision,
};

#[test]
fn a_right_reply_counts_once_where_replies_pass_on() {
    let mut rig = Rig::passing_replies();
    for receiver in RECEIVERS {
        for reply in Echo::replies(receiver) {
            rig.expect(&reply);
            assert_eq!(rig.check(receiver, &reply.bytes()), Decision::Matched);
            assert_eq!(rig.check(receiver, &reply.bytes()), Decision::Duplicate);
        }
    }
}
