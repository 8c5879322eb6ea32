//! Logins at a rate, whether or not the earlier ones are done: the storm, made in a process of its own.

use std::cell::Cell;
use std::io::{self, BufRead, Write};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{JoinSet, spawn_blocking};

use super::{Dialer, login};
use crate::job::{Reading, reading};
use crate::pipe::fault;

/// Logins that are not answered in time pile up to here; then the rate isn't kept.
const MOST: usize = 2_000;
/// Where the sequence of the gaps begins: the storms of all contestants are the same.
const SEED: u64 = 0x5EED;

/// For each line of input, which tells seconds, that long a storm; for each storm a line of what it
/// came to, once its last login has ended. Until the input ends.
pub(super) async fn serve(dialer: &Rc<Dialer>, rate: f64) -> io::Result<()> {
    let mut gaps = Gaps { state: SEED, rate };
    while let Some(seconds) = spawn_blocking(next_line).await?? {
        let told = storm(dialer, due(&mut gaps, seconds), seconds).await;
        writeln!(io::stdout(), "{}", serde_json::to_string(&told)?)?;
    }
    Ok(())
}

fn next_line() -> io::Result<Option<f64>> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let seconds = line.trim().parse();
    seconds.map(Some).map_err(|_| fault("no number of seconds"))
}

/// Says when a login is due. A thread's own sleep tells microseconds; the runtime's only milliseconds,
/// at which logins would come in heaps.
fn due(gaps: &mut Gaps, seconds: f64) -> UnboundedReceiver<()> {
    let (tell, told) = unbounded_channel();
    let mut gaps: Vec<Duration> = gaps.lasting(seconds);
    thread::spawn(move || {
        let mut next = Instant::now();
        for gap in gaps.drain(..) {
            next += gap;
            thread::sleep(next.saturating_duration_since(Instant::now()));
            if tell.send(()).is_err() {
                return;
            }
        }
    });
    told
}

async fn storm(dialer: &Rc<Dialer>, mut due: UnboundedReceiver<()>, seconds: f64) -> Reading {
    let tally = Rc::new(Tally::until(
        Instant::now() + Duration::from_secs_f64(seconds),
    ));
    let mut running = JoinSet::new();
    while due.recv().await.is_some() {
        while running.try_join_next().is_some() {}
        if running.len() < MOST {
            running.spawn_local(one(Rc::clone(dialer), Rc::clone(&tally)));
        }
    }
    while running.join_next().await.is_some() {}
    reading([
        ("per_second", tally.in_time.get() / seconds),
        ("failed", tally.failed.get()),
    ])
}

async fn one(dialer: Rc<Dialer>, tally: Rc<Tally>) {
    let counter = match login::once(&dialer).await {
        Ok(()) if Instant::now() < tally.end => &tally.in_time,
        Ok(()) => return,
        Err(_) => &tally.failed,
    };
    counter.set(counter.get() + 1.0);
}

/// What became of a storm's logins.
struct Tally {
    end: Instant,
    /// Done before the end.
    in_time: Cell<f64>,
    failed: Cell<f64>,
}

impl Tally {
    fn until(end: Instant) -> Self {
        Self {
            end,
            in_time: Cell::new(0.0),
            failed: Cell::new(0.0),
        }
    }
}

/// Gaps between clients who don't know of each other: distributed exponentially (a Poisson process).
struct Gaps {
    state: u64,
    rate: f64,
}

impl Gaps {
    /// As many as go into `seconds`.
    fn lasting(&mut self, seconds: f64) -> Vec<Duration> {
        let mut left = seconds;
        let mut gaps = Vec::new();
        loop {
            let gap = -(1.0 - self.uniform()).ln() / self.rate;
            left -= gap;
            if left < 0.0 {
                return gaps;
            }
            gaps.push(Duration::from_secs_f64(gap));
        }
    }

    /// SplitMix64, as a number from 0 up to 1.
    fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        let high = u32::try_from(mixed >> 32).unwrap_or(u32::MAX);
        f64::from(high) / 4_294_967_296.0
    }
}
