//! Thousands of sessions with traffic for minutes: nothing may be lost, and the memory must come
//! back when they have gone.
//!
//! `cargo bench --bench soak -- --sessions 9000 --minutes 10` (Linux). `--tls` has TLS towards the
//! backend, too.
//!
//! Each session sends messages of 1 byte to 1 MiB, most of them short, at moments of its own, and
//! compares what comes back byte by byte; now and then one ends and another one takes its place.
//! Gate, backend and clients are processes of their own, so that each keeps below the descriptor
//! limit: the gate needs two a session. Ends with an error if a byte was lost or a session refused.

#![expect(
    clippy::unwrap_used,
    reason = "a measurement that can't go on has failed"
)]

mod backend;
mod clients;
mod gate;

use std::env;
use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use gate::Gate;

const ROLE: &str = "PORTCULLIS_SOAK_ROLE";

/// How long after the last session a gate has to give memory back.
const REST: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match env::var(ROLE).as_deref() {
        Ok("backend") => backend::run(),
        Ok("clients") => clients::run(),
        Ok(_) | Err(_) => return soak(),
    }
    ExitCode::SUCCESS
}

/// How often the memory is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// What the clients have seen so far. Travels as words.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    sessions: u64,
    logins: u64,
    messages: u64,
    bytes: u64,
    lost: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sessions,
            logins,
            messages,
            bytes,
            lost,
        } = self;
        write!(f, "{sessions} {logins} {messages} {bytes} {lost}")
    }
}

impl FromStr for Tally {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Result<Vec<u64>, _> = text.split(' ').map(str::parse).collect();
        match words.as_deref() {
            Ok(&[sessions, logins, messages, bytes, lost]) => Ok(Self {
                sessions,
                logins,
                messages,
                bytes,
                lost,
            }),
            Ok(_) | Err(_) => Err(text.to_owned()),
        }
    }
}

fn soak() -> ExitCode {
    let seconds = Duration::from_secs(60 * argument("--minutes", 10));
    let with_tls = env::args().any(|argument| argument == "--tls");
    let mut backend = Peer::start("backend", &[("TLS", with_tls.to_string())]);
    let gate = Gate::start(&backend.line(), with_tls);
    let mut clients = Peer::start(
        "clients",
        &[
            ("GATE", gate.address.to_string()),
            ("CA", gate.ca().display().to_string()),
            ("SESSIONS", argument("--sessions", 9_000).to_string()),
        ],
    );
    // One session has come and gone: what is made once isn't counted.
    assert_eq!(clients.line(), "warm");
    let before = gate.pss();
    println!("| minutes | sessions | logins | messages | GB each way | lost | gate, MiB |");
    println!("|---|---|---|---|---|---|---|");
    row("before", Tally::default(), before);

    clients.say("go");
    assert_eq!(clients.line(), "full");
    let (last, peak) = watch(&gate, &mut clients, seconds);
    clients.say("end");
    let lost = clients.line().parse::<Tally>().unwrap().lost;
    thread::sleep(REST);
    let after = gate.pss();
    let gone = Tally {
        sessions: 0,
        lost,
        ..last
    };
    row(&format!("{REST:?} after the last"), gone, after);
    let [grown, left] = [peak, after].map(|pss| mib(pss.saturating_sub(before)));
    println!("\nOf {grown:.1} MiB more at most, {left:.1} MiB are still there. Lost: {lost}.");
    if lost == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Looks every ten seconds, says what it sees every minute, and returns what it saw last and the
/// most memory that it saw.
fn watch(gate: &Gate, clients: &mut Peer, time: Duration) -> (Tally, usize) {
    let begun = Instant::now();
    let mut peak = 0;
    let mut looks = 0_u32;
    loop {
        thread::sleep(LOOK);
        looks += 1;
        let (tally, pss) = (clients.tally(), gate.pss());
        peak = peak.max(pss);
        let is_over = begun.elapsed() >= time;
        if is_over || looks.is_multiple_of(6) {
            let minutes = begun.elapsed().as_secs_f64() / 60.0;
            row(&format!("{minutes:.0}"), tally, pss);
        }
        if is_over {
            return (tally, peak);
        }
    }
}

fn row(when: &str, tally: Tally, pss: usize) {
    let Tally {
        sessions,
        logins,
        messages,
        bytes,
        lost,
    } = tally;
    let gigabytes = bytes as f64 / 1e9;
    println!(
        "| {when} | {sessions} | {logins} | {messages} | {gigabytes:.2} | {lost} | {:.1} |",
        mib(pss)
    );
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

/// This program again, in another role. Ends with this one.
struct Peer {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    stdin: ChildStdin,
}

impl Peer {
    fn start(role: &str, variables: &[(&str, String)]) -> Self {
        let mut command = limited(env::current_exe().unwrap());
        command.env(ROLE, role);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let stdin = process.stdin.take().unwrap();
        Self {
            process,
            lines,
            stdin,
        }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("a peer that goes on").unwrap()
    }

    fn tally(&mut self) -> Tally {
        self.say("tally");
        self.line().parse().unwrap()
    }

    fn say(&mut self, word: &str) {
        writeln!(self.stdin, "{word}").unwrap();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A program that may have as many descriptors as there are, and that dies with this one.
fn limited(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", "sh", "-c"])
        .arg("ulimit -n \"$(ulimit -Hn)\" && exec \"$0\" \"$@\"")
        .arg(program);
    command
}

fn argument<T: FromStr>(name: &str, default: T) -> T {
    let value = env::args().skip_while(|argument| argument != name).nth(1);
    value.map_or(default, |value| value.parse().ok().expect("a number"))
}
