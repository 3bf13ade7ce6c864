//! By which hook an interface is served, without a kernel.

use super::*;

#[test]
fn xdp_is_taken_where_replies_are_sure_to_leave_by_it() {
    let driver = |name: &str, features| Driver {
        name: Some(name.to_owned()),
        features,
    };
    let takes = |choice, driver: Driver| xdp_fault(choice, &driver).is_none();
    for choice in [HookChoice::Auto, HookChoice::Xdp] {
        assert!(takes(choice, driver("ice", Some(XDP_BASIC))));
        assert!(
            takes(choice, driver("ice", None)),
            "an old kernel does not say"
        );
        assert!(takes(choice, Driver::default()));
        assert!(!takes(choice, driver("dummy", Some(0))));
        assert!(!takes(choice, driver("veth", Some(XDP_BASIC))));
        assert!(!takes(choice, driver("veth", None)));
    }
    let ready = || driver("veth", Some(XDP_BASIC | XDP_TRANSMITS));
    assert!(takes(HookChoice::Xdp, ready()));
    assert!(!takes(HookChoice::Auto, ready()), "it may end at any time");
}

use driver::{XDP_BASIC, XDP_TRANSMITS};
