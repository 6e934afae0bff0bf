use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn local() -> TargetPolicy {
    TargetPolicy { allowed: vec!["127.0.0.0/8".parse().unwrap()], allow_http: true, ports: Vec::new(), own: Vec::new() }
}

#[rstest]
#[case::public_v4("93.184.216.34", true)]
#[case::public_v6("2606:2800:220:1::1", true)]
#[case::loopback("127.0.0.1", false)]
#[case::metadata("169.254.169.254", false)]
#[case::private_10("10.1.2.3", false)]
#[case::private_172("172.31.255.255", false)]
#[case::next_to_private_172("172.32.0.1", true)]
#[case::private_192("192.168.0.1", false)]
#[case::shared("100.64.0.1", false)]
#[case::unspecified("0.0.0.0", false)]
#[case::broadcast("255.255.255.255", false)]
#[case::multicast("224.0.0.1", false)]
#[case::as112("192.31.196.1", false)]
#[case::multicast_relay("192.52.193.1", false)]
#[case::oracle_metadata("192.0.0.192", false)]
#[case::loopback_v6("::1", false)]
#[case::unspecified_v6("::", false)]
#[case::mapped("::ffff:127.0.0.1", false)]
#[case::mapped_public("::ffff:93.184.216.34", false)]
#[case::nat64("64:ff9b::7f00:1", false)]
#[case::six_to_four("2002:7f00:1::", false)]
#[case::nat64_local("64:ff9b:1::a00:1", false)]
#[case::nat64_public("64:ff9b::808:808", false)]
#[case::translated("::ffff:0:7f00:1", false)]
#[case::compatible("::7f00:1", false)]
#[case::discard("100::1", false)]
#[case::teredo("2001::1", false)]
#[case::benchmark_v6("2001:2::1", false)]
#[case::orchid("2001:20::1", false)]
#[case::next_to_the_assignments("2001:200::1", true)]
#[case::as112_v6("2620:4f:8000::1", false)]
#[case::more_documentation("3fff::1", false)]
#[case::unallocated("4000::1", false)]
#[case::unique_local("fd00:ec2::254", false)]
#[case::link_local("fe80::1", false)]
#[case::site_local("fec0::1", false)]
#[case::multicast_v6("ff02::1", false)]
#[case::documentation_v6("2001:db8::1", false)]
#[case::segment_routing("5f00::1", false)]
fn only_the_public_internet(#[case] address: &str, #[case] permitted: bool) {
    assert_eq!(TargetPolicy::default().permits(address.parse().unwrap()), permitted);
}

#[test]
fn an_allowed_network_is_an_exception_for_itself_only() {
    assert!(local().permits("127.0.0.1".parse().unwrap()));
    assert!(!local().permits("::ffff:127.0.0.1".parse().unwrap()));
    assert!(!local().permits("10.0.0.1".parse().unwrap()));
}

#[rstest]
#[case::plain("https://example.com/hook?a=b", None)]
#[case::port("https://example.com:8443/", None)]
#[case::upper_case("HTTPS://example.com/", None)]
#[case::public_literal("https://93.184.216.34/", None)]
#[case::http("http://example.com/", Some(TargetError::Scheme { expected: "https://" }))]
#[case::file("file:///etc/passwd", Some(TargetError::Scheme { expected: "https://" }))]
#[case::no_slashes("https:example.com", Some(TargetError::Scheme { expected: "https://" }))]
#[case::space_before(" https://example.com", Some(TargetError::Scheme { expected: "https://" }))]
#[case::relative("/hook", Some(TargetError::Malformed("relative URL without a base".to_owned())))]
#[case::no_host("https://", Some(TargetError::Malformed("empty host".to_owned())))]
#[case::only_dots("https://../", Some(TargetError::Malformed("empty label in the host".to_owned())))]
#[case::two_dots("https://example..com/", Some(TargetError::Malformed("empty label in the host".to_owned())))]
#[case::final_dot("https://example.com./", None)]
#[case::credentials("https://me:secret@example.com/", Some(TargetError::Credentials))]
#[case::fragment("https://example.com/#top", Some(TargetError::Fragment))]
#[case::loopback("https://127.0.0.1/", Some(TargetError::Forbidden))]
#[case::decimal("https://2130706433/", Some(TargetError::Forbidden))]
#[case::hexadecimal("https://0x7f.1/", Some(TargetError::Forbidden))]
#[case::octal("https://0177.0.0.1/", Some(TargetError::Forbidden))]
#[case::full_width("https://１２７.０.０.１/", Some(TargetError::Forbidden))]
#[case::mapped("https://[::ffff:7f00:1]/", Some(TargetError::Forbidden))]
fn urls(#[case] text: &str, #[case] error: Option<TargetError>) {
    assert_eq!(TargetPolicy::default().parse(text).err(), error);
}

#[rstest]
#[case::tls("https://example.com:443/", &[], false, true)]
#[case::another("https://example.com:8443/", &[], false, true)]
#[case::ssh("https://example.com:22/", &[], false, false)]
#[case::plain_port_of_tls("https://example.com:80/", &[], false, false)]
#[case::http("http://example.com/", &[], true, true)]
#[case::http_proxy("http://example.com:8080/", &[], true, true)]
#[case::named("https://example.com:9000/", &["9000-9010"], false, true)]
#[case::a_list_replaces_the_default("https://example.com/", &["9000-9010"], false, false)]
#[case::all("http://example.com:6379/", &["1-65535"], true, true)]
#[case::zero("https://example.com:0/", &["1-65535"], false, false)]
fn ports(#[case] url: &str, #[case] named: &[&str], #[case] allow_http: bool, #[case] allowed: bool) {
    let ports = named.iter().map(|text| text.parse().unwrap()).collect();
    let policy = TargetPolicy { allow_http, ports, ..TargetPolicy::default() };
    assert_eq!(policy.parse(url).is_ok(), allowed);
}

#[test]
fn a_refused_port_names_the_allowed_ones() {
    assert_eq!(
        TargetPolicy::default().parse("https://example.com:22/").unwrap_err().to_string(),
        "must use one of the ports that this deployment allows (443, 8443), not 22"
    );
}

#[rstest]
#[case::localhost("localhost", false)]
#[case::below("a.localhost", false)]
#[case::dot("LocalHost.", false)]
#[case::metadata("metadata.google.internal", false)]
#[case::instance("ip-10-0-0-1.ec2.internal", false)]
#[case::multicast_dns("printer.local", false)]
#[case::home("router.home.arpa", false)]
#[case::only_ends_like_it("notlocalhost", true)]
#[case::begins_like_it("localhost.example.com", true)]
#[case::word_within("internal.example.com", true)]
fn names_that_lead_nowhere_else(#[case] host: &str, #[case] allowed: bool) {
    assert_eq!(TargetPolicy::default().parse(&format!("https://{host}/")).is_ok(), allowed);
}

#[test]
fn a_private_name_may_lead_to_a_network_that_is_allowed() {
    let policy = TargetPolicy { allowed: vec!["10.0.0.0/8".parse().unwrap()], ..TargetPolicy::default() };
    assert!(policy.parse("https://hooks.corp.internal/").is_ok());
    assert_eq!(policy.parse("https://localhost/"), Err(TargetError::LocalName("localhost")));
}

#[rstest]
#[case::tab("https://exa\tmple.com/")]
#[case::line_break("https://example.com/\nx")]
#[case::backslash("https://example.com\\@evil.example/")]
#[case::space_after("https://example.com/ ")]
#[case::third_slash("https:///example.com/")]
fn what_a_parser_would_mend_is_refused(#[case] text: &str) {
    assert!(matches!(TargetPolicy::default().parse(text), Err(TargetError::Malformed(_))));
}

#[test]
fn length_is_bounded() {
    let url = |bytes: usize| format!("https://example.com/{}", "a".repeat(bytes - 20));
    assert!(TargetPolicy::default().parse(&url(MAX_URL_BYTES)).is_ok());
    assert_eq!(TargetPolicy::default().parse(&url(MAX_URL_BYTES + 1)), Err(TargetError::TooLong));
}

#[test]
fn the_operator_may_allow_http_and_loopback() {
    assert!(local().parse("http://127.0.0.1:8080/").is_ok());
    assert!(local().parse("http://localhost/").is_ok());
    assert!(local().parse("http://10.0.0.1/").is_err());
}

/// Addresses that must be refused, from independent lists rather than from the code.
const REFUSED: [&str; 33] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "::/8",
    "::1/128",
    "::ffff:0:0/96",
    "64:ff9b::/32",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:2::/48",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fd00:ec2::/64",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

proptest! {
    #[test]
    fn no_address_of_a_special_network_is_permitted(range in proptest::sample::select(&REFUSED[..]), host: u128) {
        let (address, network) = match range.parse().unwrap() {
            IpNet::V4(net) => {
                let low = u32::try_from(host & u128::from(u32::MAX)).unwrap();
                let bits = net.network().to_bits() | (low & net.hostmask().to_bits());
                (IpAddr::from(Ipv4Addr::from_bits(bits)), IpNet::V4(net))
            }
            IpNet::V6(net) => {
                let bits = net.network().to_bits() | (host & net.hostmask().to_bits());
                (IpAddr::from(Ipv6Addr::from_bits(bits)), IpNet::V6(net))
            }
        };
        prop_assert!(network.contains(&address));
        prop_assert!(!TargetPolicy::default().permits(address), "{address}");
    }

    /// No IPv6 form of an IPv4 address is permitted.
    #[test]
    fn no_disguise_is_permitted(v4: u32) {
        let v4 = u128::from(v4);
        let disguises = [v4, 0xffff_0000_0000 | v4, 0xffff_0000_0000_0000 | v4, 0x0064_ff9b_u128 << 96 | v4, 0x2002_u128 << 112 | v4 << 80];
        for disguise in disguises {
            prop_assert!(!TargetPolicy::default().permits(Ipv6Addr::from_bits(disguise).into()));
        }
    }

    #[test]
    fn no_text_breaks_the_reader(text in ".*", host in "[a-zA-Z0-9.:%\\[\\]@/\\\\#-]{0,40}") {
        for url in [text, format!("https://{host}/"), format!("https://{host}")] {
            // An allowed URL parses to the same URL again.
            if let Ok(url) = TargetPolicy::default().parse(&url) {
                prop_assert_eq!(TargetPolicy::default().parse(url.as_str()), Ok(url));
            }
        }
    }
}
