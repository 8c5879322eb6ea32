//! What reading a client's first words costs the gate's processor: `cargo bench --bench startup`.
//! The allocations are told beside the time; `benches/instructions.rs` counts the instructions.

#[path = "startup/packet.rs"]
mod packet;

use divan::counter::BytesCount;
use divan::{AllocProfiler, Bencher, black_box};
use packet::{read, startup_message};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// What psql sends: a handful of parameters.
#[divan::bench]
fn psql(bencher: Bencher<'_, '_>) {
    let packet = startup_message(&[
        ("user", "alice"),
        ("database", "accounts"),
        ("application_name", "psql"),
        ("client_encoding", "UTF8"),
    ]);
    measure(bencher, &packet);
}

/// What names its project in the options.
#[divan::bench]
fn with_options(bencher: Bencher<'_, '_>) {
    let options = "-c portcullis.project=acme -c search_path=app,public -c statement_timeout=5s";
    let packet = startup_message(&[
        ("user", "alice"),
        ("database", "accounts"),
        ("options", options),
    ]);
    measure(bencher, &packet);
}

/// The longest packet that PostgreSQL takes, in the shortest parameters: the worst that a peer can do.
#[divan::bench]
fn longest(bencher: Bencher<'_, '_>) {
    let parameters = vec![("a", ""); 3_330];
    measure(bencher, &startup_message(&parameters));
}

/// What clients in clear ask with. Nothing is allocated for it.
#[divan::bench]
fn ssl_request(bencher: Bencher<'_, '_>) {
    measure(bencher, b"\0\0\0\x08\x04\xd2\x16\x2f");
}

fn measure(bencher: Bencher<'_, '_>, packet: &[u8]) {
    bencher
        .counter(BytesCount::of_slice(packet))
        .bench_local(|| read(black_box(packet)));
}
