//! What is a network, and what is told to those who write something else.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Network, InvalidNetwork> {
    text.parse()
}

#[test]
fn a_network_is_shown_as_a_text_that_parses_back() {
    for (text, shown) in [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9/32", "203.0.113.9"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
        ("2001:DB8:0::/32", "2001:db8::/32"),
        ("10.0.0.1-10.0.0.9", "10.0.0.1-10.0.0.9"),
        ("10.0.0.1 - 10.0.0.9", "10.0.0.1-10.0.0.9"),
        ("10.0.0.0-10.0.0.255", "10.0.0.0/24"),
        ("10.0.0.7-10.0.0.7", "10.0.0.7"),
        ("2001:db8::1-2001:db8::ffff", "2001:db8::1-2001:db8::ffff"),
        ("0.0.0.0-255.255.255.255", "0.0.0.0/0"),
    ] {
        let network = parse(text).unwrap();
        assert_eq!(network.to_string(), shown, "{text}");
        assert_eq!(parse(shown).unwrap(), network);
    }
}

#[test]
fn t23_ipv4_mapped_networks_are_ipv4_networks() {
    for (mapped, plain) in [
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::ffff:10.0.0.1-::ffff:10.0.0.9", "10.0.0.1-10.0.0.9"),
        ("::ffff:10.0.0.1-10.0.0.9", "10.0.0.1-10.0.0.9"),
    ] {
        assert_eq!(parse(mapped), parse(plain), "{mapped}");
    }
    assert!(
        parse("10.0.0.0/8")
            .unwrap()
            .contains("::ffff:10.1.2.3".parse().unwrap())
    );
    assert!(
        !parse("::/0")
            .unwrap()
            .contains("::ffff:10.1.2.3".parse().unwrap())
    );
}

#[test]
fn t26_host_bits_are_refused_and_both_readings_offered() {
    for (text, host, network) in [
        ("10.0.0.5/8", "10.0.0.5/32", "10.0.0.0/8"),
        ("2001:db8::1/32", "2001:db8::1/128", "2001:db8::/32"),
        ("::ffff:10.0.0.5/104", "10.0.0.5/32", "10.0.0.0/8"),
    ] {
        let told = parse(text).unwrap_err().to_string();
        assert!(told.contains(&format!("write {host} for")), "{told}");
        assert!(told.contains(&format!("or {network} for")), "{told}");
    }
}

#[test]
fn what_is_not_a_network_is_told_what_to_write() {
    for (text, told) in [
        ("", "an address is missing"),
        ("10.0.0.0/", "a number from 0 to 32"),
        ("10.0.0.0/33", "a number from 0 to 32"),
        ("10.0.0.0/+8", "a number from 0 to 32"),
        ("10.0.0.0/08", "a number from 0 to 32"),
        ("10.0.0.0/255.0.0.0", "a number from 0 to 32"),
        ("2001:db8::/129", "a number from 0 to 128"),
        ("010.0.0.1", "write 10.0.0.1 if that is meant"),
        ("10.0.0.010/32", "write 10.0.0.10 if that is meant"),
        ("fe80::1%eth0", "write fe80::1"),
        ("fe80::1%eth0/64", "write fe80::1"),
        ("10.0.0.1:5432", "write 10.0.0.1"),
        ("[2001:db8::1]:5432", "write 2001:db8::1"),
        ("10.0.0.9-10.0.0.1", "write 10.0.0.1-10.0.0.9"),
        ("10.0.0.1-2001:db8::1", "different families"),
        ("10.0.0.0/8-11.0.0.0/8", "not an IP address"),
        ("10.0.0.1-", "an address is missing"),
        ("10.0.0", "not an IP address"),
        ("10.0.0.1 ", "not an IP address"),
        ("db.example.com", "not an IP address"),
        ("1\u{1b}[2J", "`1\\u{1b}[2J` is not"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(told), "{text:?}: {error}");
    }
}

#[test]
fn a_long_mistake_is_shown_in_part() {
    let error = parse(&"x".repeat(100_000)).unwrap_err().to_string();
    assert!(error.len() < 300, "{error}");
}

proptest! {
    #[test]
    fn the_blocks_of_a_range_are_exactly_the_range(a: u128, b: u128, v4: bool, near: u16) {
        let make = |bits: u128| -> IpAddr {
            if v4 { Ipv4Addr::from((bits >> 96) as u32).into() } else { Ipv6Addr::from(bits).into() }
        };
        let b = if near % 2 == 0 { b } else { a.saturating_add(u128::from(near) << if v4 { 96 } else { 0 }) };
        let (first, last) = (make(a.min(b)), make(a.max(b)));
        prop_assume!(first.to_canonical() == first && last.to_canonical() == last);
        let network = Network::range(first, last).unwrap();
        prop_assert_eq!((network.first(), network.last()), (first, last));
        let bounds: Vec<_> = network.blocks().map(|block| (block.network(), block.broadcast())).collect();
        prop_assert_eq!(bounds.first().unwrap().0, first);
        prop_assert_eq!(bounds.last().unwrap().1, last);
        let number = |ip: IpAddr| match ip { IpAddr::V4(ip) => u128::from(u32::from(ip)), IpAddr::V6(ip) => u128::from(ip) };
        for pair in bounds.windows(2) {
            prop_assert_eq!(number(pair[0].1) + 1, number(pair[1].0));
        }
        prop_assert_eq!(network.to_string().parse::<Network>().unwrap(), network);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,40}|[0-9a-f:./%-]{0,40}") {
        if let Ok(network) = text.parse::<Network>() {
            prop_assert_eq!(network.to_string().parse::<Network>().unwrap(), network);
        }
    }
}
