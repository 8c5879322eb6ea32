//! What a decision takes by a short list, which is looked through, and by a longer one, which has a trie; and
//! what either takes of memory: `cargo bench --bench allow_list`.

use std::net::SocketAddr;

use divan::{Bencher, black_box};
use jiff::Timestamp;
use portcullis::address::ClientAddr;
use portcullis::gate::allow_list::AllowList;
use portcullis::gate::rule::{Rule, Verdict};

/// How many rules the lists have; the first three are looked through.
const RULES: [u8; 6] = [1, 2, 4, 5, 10, 20];

fn main() {
    println!("| rules | bytes | bytes, once one has decided |\n|---|---|---|");
    for rules in RULES {
        let list = list(rules);
        let bytes = || size_of_val(&list) + list.heap_size();
        let (unused, now) = (bytes(), Timestamp::now());
        list.count(&list.decide(address(0), now), now);
        println!("| {rules} | {unused} | {} |", bytes());
    }
    divan::main();
}

fn list(rules: u8) -> AllowList {
    let rule = |at| {
        let source = format!("198.51.{at}.0/24").parse().expect("a network");
        Rule::new(Verdict::Allow, source)
    };
    AllowList::compile((0..rules).map(rule).collect(), |_| None).expect("no tags")
}

/// The last of the rules decides.
#[divan::bench(args = RULES)]
fn hit(bencher: Bencher<'_, '_>, rules: u8) {
    decide(bencher, rules, rules - 1);
}

/// None of them does.
#[divan::bench(args = RULES)]
fn miss(bencher: Bencher<'_, '_>, rules: u8) {
    decide(bencher, rules, 255);
}

fn decide(bencher: Bencher<'_, '_>, rules: u8, third: u8) {
    let (list, now) = (list(rules), Timestamp::now());
    let address = address(third);
    bencher.bench(|| list.decide(black_box(address), now).verdict());
}

fn address(third: u8) -> ClientAddr {
    SocketAddr::from(([198, 51, third, 9], 4711)).into()
}
