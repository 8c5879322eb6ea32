//! What the gate's own code takes, in instructions, the kernel's not among them: the same figure however busy
//! the machine is, beside the one of the run before. `cargo bench --bench instructions`; it needs valgrind, and
//! `cargo install --locked --version 0.20.0 gungraun-runner`.

#![expect(
    missing_docs,
    unused_qualifications,
    reason = "of what gungraun's macros write"
)]

#[path = "startup/packet.rs"]
mod packet;
#[path = "instructions/session.rs"]
mod session;
#[path = "relay/tls.rs"]
mod tls;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use gungraun::{
    Callgrind, EntryPoint, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use ipnet::{IpNet, Ipv4Net};
use packet::startup_message;
use portcullis::auth::scram::{
    ChannelBindingOffer, ClientBinding, Credential, Iterations, Mechanism, ProofAwaited, Salt,
    ScramClient, ScramServer, Verifier,
};
use portcullis::gate::trie::PrefixTrie;
use portcullis::wire::startup::StartupPacket;
use session::Session;

// A StartupMessage, as the gate reads it.
#[library_benchmark]
#[bench::psql(startup_message(&[("user", "alice"), ("database", "accounts"), ("application_name", "psql")]))]
#[bench::with_options(startup_message(&[("user", "alice"), ("options", "-c portcullis.project=acme -c search_path=app")]))]
#[bench::longest(startup_message(&vec![("a", ""); 3_330]))]
fn startup(packet: Vec<u8>) -> Option<StartupPacket> {
    packet::read(&packet)
}

// A thousand lookups, half of them hits.
#[library_benchmark]
#[bench::of_10(trie(10))]
#[bench::of_1000(trie(1_000))]
#[bench::of_100000(trie(100_000))]
fn lookups(trie: PrefixTrie) -> usize {
    let found = |at: u32| trie.find(IpAddr::V4(address(at / 2, at % 2)));
    (0..1_000).filter_map(|at| black_box(found(at))).count()
}

fn trie(size: u32) -> PrefixTrie {
    let block = |at| IpNet::V4(Ipv4Net::new_assert(address(at, 0), 32));
    PrefixTrie::compile((0..size).map(|at| (block(at), at)))
}

/// Far from the last one, and beside another.
fn address(at: u32, beside: u32) -> Ipv4Addr {
    Ipv4Addr::from((at.wrapping_mul(0x9E37_79B9) & !1) + beside)
}

// The end of a SCRAM exchange: the client's proof is checked, and the server's made.
#[library_benchmark]
#[bench::it(proof_awaited())]
fn scram_proof((awaited, client_final): (ProofAwaited, Vec<u8>)) -> bool {
    awaited.client_final(&client_final).is_ok()
}

fn proof_awaited() -> (ProofAwaited, Vec<u8>) {
    let salt = Salt::new(b"a salt of the 16").expect("16 bytes");
    let verifier = Verifier::from_password(b"secret", salt, Iterations::DEFAULT);
    let plain = Mechanism::ScramSha256.name().as_bytes();
    let client = ScramClient::new(Credential::password(b"secret"), ClientBinding::NoTls);
    let (first, sent) = client.choose([plain]).expect("it is offered");
    let server = ScramServer::new(Arc::new(verifier), ChannelBindingOffer::None);
    let answer = server.client_first(plain, &first.message);
    let (server_first, awaited) = answer.expect("it is well-formed");
    let (client_final, _) = sent.server_first(&server_first).expect("it is well-formed");
    (awaited, client_final)
}

// What the relay alone does, crypto included; its peers share its thread, but don't count.
#[library_benchmark(config = LibraryBenchmarkConfig::default().tool(
    Callgrind::default().entry_point(EntryPoint::Custom("*session::relayed*".to_owned()))
))]
#[bench::thousand_select_1(Session::new(session::Work::Queries(1_000)))]
#[bench::download_of_8_mib(Session::new(session::Work::Download(8 << 20)))]
#[bench::upload_of_8_mib(Session::new(session::Work::Upload(8 << 20)))]
fn relay(session: Session) {
    session.run();
}

library_benchmark_group!(name = instructions; benchmarks = startup, lookups, scram_proof, relay);
main!(library_benchmark_groups = instructions);
