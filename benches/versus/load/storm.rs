//! Live sessions while others log in.
//!
//! Calm and storm come in turns, in short windows, so that what changes on the machine changes both; and
//! queries count only while the machine was there, as [`Witnesses`] tell.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, spawn_blocking, spawn_local};
use tokio::time::{self, MissedTickBehavior, interval_at, sleep};

use super::{Dialer, WARM_UP, close, count, micros, query};
use crate::job::{Job, Reading, Turns, Work, reading};
use crate::pipe::fault;
use crate::proc::stolen_seconds;
use crate::process::Beside;
use crate::stats::percentile;
use crate::witness::{Witnesses, clock};

const LIVE: u32 = 8;
/// Each live session asks this often, and no two of them at the same time.
const PACE: Duration = Duration::from_millis(8);
/// A storm goes on this long before its window opens, and until it has closed.
const LEAD: Duration = Duration::from_millis(100);

/// Fewer that count, and a window tells no p99.
const ENOUGH: usize = 300;

/// A reading for each calm and the storm after it.
pub(super) async fn run(job: &Job, dialer: &Rc<Dialer>, turns: Turns) -> io::Result<Vec<Reading>> {
    let board = Rc::new(Board::default());
    let mut sessions = JoinSet::new();
    let origin = time::Instant::now() + WARM_UP;
    for at in 0..LIVE {
        let first = origin + PACE * at / LIVE;
        sessions.spawn_local(paced(Rc::clone(dialer), Rc::clone(&board), first));
    }
    let (pairs, ()) = tokio::try_join!(in_turns(job, &board, turns), to_their_end(sessions))?;
    if pairs.is_empty() {
        return Err(fault("the machine was away too often to tell a p99"));
    }
    let failed = pairs.iter().map(|pair| pair.told("failed")).sum();
    Ok(pairs.iter().map(|pair| pair.tell(failed)).collect())
}

async fn to_their_end(mut sessions: JoinSet<io::Result<()>>) -> io::Result<()> {
    while let Some(ended) = sessions.join_next().await {
        ended??;
    }
    Ok(())
}

async fn paced(dialer: Rc<Dialer>, board: Rc<Board>, first: time::Instant) -> io::Result<()> {
    let mut session = dialer.login().await?;
    let mut pace = interval_at(first, PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !board.over.get() {
        pace.tick().await;
        let window = board.open.borrow().clone();
        let (moment, began) = (clock(), Instant::now());
        query(&mut session, "SELECT 1").await?;
        note(window.as_ref(), moment, began.elapsed());
    }
    close(session).await
}

/// Calm, storm, calm, storm; the storms are made by another process, so that the clock isn't in their
/// way, and each has ended to its last login before the next calm.
async fn in_turns(job: &Job, board: &Board, turns: Turns) -> io::Result<Vec<Pair>> {
    let work = Work::Logins { rate: turns.rate };
    let crowd = Beside::start(&Job {
        work,
        ..job.clone()
    });
    let mut crowd = crowd.map_err(io::Error::other)?;
    let witnesses = Witnesses::on(&job.cores)?;
    (crowd, _) = storm(crowd, LEAD).await?;
    sleep(WARM_UP).await;
    let window = Duration::from_secs_f64(turns.seconds);
    let mut pairs = Vec::new();
    for _ in 0..turns.tries {
        let (began, stolen) = (Instant::now(), stolen_seconds());
        let calm = board.window(window).await;
        let raging = spawn_local(storm(crowd, LEAD + window + LEAD));
        sleep(LEAD).await;
        let during = board.window(window).await;
        let logins;
        (crowd, logins) = raging.await??;
        sleep(LEAD).await;
        let stolen = (stolen_seconds() - stolen) / began.elapsed().as_secs_f64();
        pairs.extend(Pair::of((&calm, &during), &witnesses, (logins, stolen)));
        if pairs.len() == turns.pairs as usize {
            break;
        }
    }
    board.over.set(true);
    Ok(pairs)
}

async fn storm(mut crowd: Beside, lasting: Duration) -> io::Result<(Beside, Reading)> {
    let told = spawn_blocking(move || {
        let told = crowd.ask(&lasting.as_secs_f64().to_string());
        told.map(|told| (crowd, told)).map_err(io::Error::other)
    });
    told.await?
}

/// A calm window, and the one in the storm after it.
struct Pair {
    calm: Percentiles,
    during: Percentiles,
    logins: Reading,
    /// Of a processor's time, what the machine's host gave to others.
    stolen: f64,
    /// Of the queries, those that count.
    kept: f64,
}

impl Pair {
    /// Nothing if the machine was away too much.
    fn of(
        (calm, during): (&Taken, &Taken),
        witnesses: &Witnesses,
        (logins, stolen): (Reading, f64),
    ) -> Option<Self> {
        let (calm, during) = (calm.borrow(), during.borrow());
        let seen: Vec<Vec<f64>> = [&calm, &during]
            .map(|taken| {
                let counts = taken
                    .iter()
                    .filter(|query| witnesses.vouch_for(query.began));
                counts.map(|query| micros(query.took)).collect()
            })
            .into();
        let all = count(calm.len() + during.len());
        let kept = count(seen.iter().map(Vec::len).sum()) / all;
        let [calm, during] = seen.try_into().ok()?;
        Some(Self {
            calm: Percentiles::of(calm)?,
            during: Percentiles::of(during)?,
            logins,
            stolen,
            kept,
        })
    }

    fn told(&self, name: &str) -> f64 {
        self.logins.get(name).copied().unwrap_or(0.0)
    }

    fn tell(&self, failed: f64) -> Reading {
        reading([
            ("calm_p50_us", self.calm.p50),
            ("calm_p99_us", self.calm.p99),
            ("storm_p50_us", self.during.p50),
            ("storm_p99_us", self.during.p99),
            ("p99_growth", self.during.p99 / self.calm.p99),
            ("logins_per_second", self.told("per_second")),
            ("logins_failed", failed),
            ("stolen_percent", 100.0 * self.stolen),
            ("kept_percent", 100.0 * self.kept),
        ])
    }
}

/// Of the queries of a window that count; microseconds.
struct Percentiles {
    p50: f64,
    p99: f64,
}

impl Percentiles {
    /// Nothing of too few.
    fn of(mut taken: Vec<f64>) -> Option<Self> {
        taken.sort_by(f64::total_cmp);
        (taken.len() >= ENOUGH).then(|| Self {
            p50: percentile(&taken, 50),
            p99: percentile(&taken, 99),
        })
    }
}

/// The queries that began in a window.
type Taken = Rc<RefCell<Vec<Query>>>;

struct Query {
    began: Duration,
    took: Duration,
}

/// What the live sessions share.
#[derive(Default)]
struct Board {
    /// The window that is open.
    open: RefCell<Option<Taken>>,
    over: Cell<bool>,
}

impl Board {
    async fn window(&self, length: Duration) -> Taken {
        let taken = Taken::default();
        self.open.replace(Some(Rc::clone(&taken)));
        sleep(length).await;
        self.open.replace(None);
        taken
    }
}

/// A session that waits for an answer doesn't ask meanwhile. Those who would have asked would have
/// waited as well, each for what was left; without them a long wait would count for one.
fn note(window: Option<&Taken>, began: Duration, took: Duration) {
    let mut left = window.and(Some(took));
    while let (Some(taken), Some(wait)) = (window, left) {
        taken.borrow_mut().push(Query { began, took: wait });
        left = wait.checked_sub(PACE);
    }
}
