//! Public lists of URLs that trick servers into requests to internal addresses, and of legitimate URLs that look
//! similar.
//!
//! A URL is refused when it is parsed, or when its name is resolved. [`resolve`] replaces DNS and gives each name on
//! the lists the address that its owner gave it. The policy is the widest one without an allowed network: plain HTTP
//! and every port, so that nothing is refused for the wrong reason.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(clippy::print_stdout, reason = "prints its counts")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use domain::attempt::target::TargetPolicy;
use serde_json::Value;
use url::Host;

const NOT_PASS: &str = include_str!("../../../tests/fixtures/ssrf/ssrfcheck-should-not-pass.json");
const PASS: &str = include_str!("../../../tests/fixtures/ssrf/ssrfcheck-should-pass.json");
const PAYLOADS: &str = include_str!("../../../tests/fixtures/ssrf/payloads-all-the-things.json");
const WEB_PLATFORM: &str = include_str!("../../../tests/fixtures/ssrf/web-platform-urls.json");

fn widest() -> TargetPolicy {
    TargetPolicy { allow_http: true, ports: vec!["1-65535".parse().unwrap()], ..TargetPolicy::default() }
}

/// Returns whether a request to the URL would be made.
fn is_called(policy: &TargetPolicy, url: &str) -> bool {
    let Ok(url) = policy.parse(url) else { return false };
    let Some(Host::Domain(name)) = url.host() else { return true };
    let addresses = resolve(name);
    !addresses.is_empty() && addresses.into_iter().all(|address| policy.permits(address))
}

/// The addresses of the names on the lists. A single word leads nowhere or to a private address; any other name leads
/// to a public one.
fn resolve(name: &str) -> Vec<IpAddr> {
    let (loopback, metadata) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(169, 254, 169, 254));
    match name {
        "localtest.me" => vec![Ipv6Addr::LOCALHOST.into()],
        "localh.st" | "spoofed.redacted.oastify.com" => vec![loopback.into()],
        "make-1.2.3.4-rebind-169.254-169.254-rr.1u.ms" => vec![Ipv4Addr::new(1, 2, 3, 4).into(), metadata.into()],
        "instance-data" | "metadata" | "rancher-metadata" => vec![metadata.into()],
        _ => match name.strip_suffix(".nip.io") {
            Some(mapped) => {
                let octets: Vec<&str> = mapped.rsplitn(5, '.').take(4).collect();
                vec![octets.into_iter().rev().collect::<Vec<_>>().join(".").parse().unwrap()]
            }
            None if name.contains('.') => vec![Ipv4Addr::new(93, 184, 216, 34).into()],
            None => Vec::new(),
        },
    }
}

fn list(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap()
}

#[test]
fn what_must_be_refused_is_refused() {
    for (source, json) in [("ssrfcheck", NOT_PASS), ("PayloadsAllTheThings", PAYLOADS)] {
        let urls = list(json);
        let called: Vec<_> = urls.iter().filter(|url| is_called(&widest(), url)).collect();
        println!("{source}: {} of {} refused", urls.len() - called.len(), urls.len());
        assert!(called.is_empty(), "{source}: {called:#?}");
    }
}

/// URLs that `ssrfcheck` accepts and Dynahook refuses, by rules that do not concern the address.
fn is_refused_by_design(url: &str) -> bool {
    // Fragments are never sent, and a translated address can be written directly.
    url.contains('#') || url.starts_with("http://[::") || url.starts_with("http://[64:ff9b:") || url.starts_with('/')
        // A single word is not a name of the public internet.
        || url == "https://a/b/c"
}

#[test]
fn legitimate_urls_are_allowed() {
    // `ssrfcheck` treats a URL without a scheme as `https:`.
    let with_scheme =
        |url: String| if url.contains("://") || url.starts_with('/') { url } else { format!("https://{url}") };
    let urls: Vec<_> = list(PASS).into_iter().map(with_scheme).filter(|url| !is_refused_by_design(url)).collect();
    let refused: Vec<_> = urls.iter().filter(|url| !is_called(&widest(), url)).collect();
    println!("ssrfcheck: {} of {} allowed", urls.len() - refused.len(), urls.len());
    assert!(urls.len() > 110 && refused.is_empty(), "{} URLs; {refused:#?}", urls.len());
}

/// What the web platform tests say about a URL.
#[derive(Debug, PartialEq)]
enum Expected {
    Refused,
    Allowed,
    /// Either is right.
    Either,
}

fn expected(test: &Value) -> Expected {
    let part = |name: &str| test[name].as_str().unwrap_or_default();
    if test["failure"] == true || !["http:", "https:"].contains(&part("protocol")) {
        return Expected::Refused;
    }
    let (input, hostname) = (part("input"), part("hostname"));
    if !part("username").is_empty() || !part("password").is_empty() || !part("hash").is_empty() {
        return Expected::Refused;
    }
    let address: Option<IpAddr> = hostname.trim_matches(['[', ']']).parse().ok();
    if address.is_some_and(is_surely_not_public) || hostname == "localhost" || part("port") == "0" {
        return Expected::Refused;
    }
    let lower = input.to_ascii_lowercase();
    let has_labels = !hostname.strip_suffix('.').unwrap_or(hostname).split('.').any(str::is_empty);
    let is_plain_name = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    let is_plain = lower.starts_with(&format!("{}//", part("protocol")))
        && !input.contains(|c: char| c == '\\' || c == '#' || c.is_control());
    if is_plain && address.is_none() && hostname.contains('.') && hostname.chars().all(is_plain_name) && has_labels {
        return Expected::Allowed;
    }
    Expected::Either
}

/// Uses the standard library rather than the code under test.
fn is_surely_not_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let of_its_kind = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast();
            of_its_kind || v4.is_unspecified() || v4.is_multicast() || v4.is_documentation() || v4.octets()[0] == 0
        }
        IpAddr::V6(v6) => {
            let of_its_kind = v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unique_local();
            of_its_kind || v6.is_unicast_link_local() || v6.to_ipv4().is_some()
        }
    }
}

#[test]
fn the_web_platforms_urls() {
    let tests: Vec<Value> = serde_json::from_str(WEB_PLATFORM).unwrap();
    let (mut refused, mut allowed, mut either, mut wrong) = (0, 0, 0, Vec::new());
    for test in &tests {
        let input = test["input"].as_str().unwrap();
        match expected(test) {
            Expected::Refused => refused += 1,
            Expected::Allowed => allowed += 1,
            Expected::Either => either += 1,
        }
        match (expected(test), is_called(&widest(), input)) {
            (Expected::Refused, true) | (Expected::Allowed, false) => wrong.push((input, expected(test))),
            _ => {}
        }
    }
    println!("web-platform-tests: {refused} refused, {allowed} allowed, {either} that may be either");
    assert!(refused > 300 && allowed > 20 && wrong.is_empty(), "{wrong:#?}");
}
