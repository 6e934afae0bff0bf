//! A URL that a webhook may have is one that is called as it is written, and leads to nothing that policy forbids.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use domain::attempt::target::{MAX_URL_BYTES, TargetPolicy};

fuzz_target!(|text: &str| {
    let policy = TargetPolicy::default();
    let Ok(url) = policy.parse(text) else { return };
    assert_eq!(url.scheme(), "https");
    assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
    let host = url.host_str().expect("it has a host");
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        assert!(policy.permits(address), "{host} is forbidden");
    }
    assert!(!host.is_empty());
    // Read again it is the same; longer it may be, since what is not ASCII is written otherwise.
    if url.as_str().len() <= MAX_URL_BYTES {
        assert_eq!(policy.parse(url.as_str()).as_ref(), Ok(&url));
    }
    // What parsers would mend in several ways is refused. A space within is `%20` for all of them.
    assert!(!text.contains(|c: char| c.is_ascii_control() || c == '\\'));
    assert!(!text.ends_with(' ') && !text[8..].starts_with('/'));
});
