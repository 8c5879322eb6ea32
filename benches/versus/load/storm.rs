//! Live sessions while others log in.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Course, Dialer, close, login, query};
use crate::job::{Job, Reading, Work, reading};
use crate::process;

const LIVE: u32 = 8;
/// Each live session asks this often.
const PACE: Duration = Duration::from_millis(8);
/// Logins that are not answered in time pile up to here; then the rate isn't kept.
const MOST: usize = 2_000;

/// The calm first, then the storm, made by another process so that the clock isn't in its way.
pub(super) async fn run(
    job: &Job,
    dialer: &Rc<Dialer>,
    (rate, seconds): (f64, f64),
) -> io::Result<Reading> {
    let calm = live(job, dialer, seconds).await?;
    let work = Work::Logins {
        rate,
        seconds: seconds + 1.0,
    };
    let storm = Job {
        work,
        ..job.clone()
    };
    let storm = spawn_blocking(move || process::beside(&storm));
    sleep(Duration::from_millis(500)).await;
    let during = live(job, dialer, seconds).await?;
    let storm = storm.await?.map_err(io::Error::other)?;
    let told = |name: &str| storm.get(name).copied().unwrap_or(0.0);
    Ok(reading([
        ("calm_p50_us", calm.0),
        ("calm_p99_us", calm.1),
        ("storm_p50_us", during.0),
        ("storm_p99_us", during.1),
        ("p99_growth", during.1 / calm.1),
        ("logins_per_second", told("per_second")),
        ("logins_failed", told("failed")),
    ]))
}

/// 50th and 99th percentile on the live sessions.
async fn live(job: &Job, dialer: &Rc<Dialer>, seconds: f64) -> io::Result<(f64, f64)> {
    let course = Rc::new(Course::default());
    let mut sessions = JoinSet::new();
    for at in 0..LIVE {
        let delay = PACE * at / LIVE;
        sessions.spawn_local(paced(Rc::clone(dialer), Rc::clone(&course), delay));
    }
    course.run(job, seconds).await;
    while let Some(ended) = sessions.join_next().await {
        ended??;
    }
    let (_, p50, p99) = course.summary()?;
    Ok((p50, p99))
}

async fn paced(dialer: Rc<Dialer>, course: Rc<Course>, delay: Duration) -> io::Result<()> {
    let mut session = dialer.login().await?;
    sleep(delay).await;
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !course.is_over() {
        pace.tick().await;
        let began = Instant::now();
        query(&mut session, "SELECT 1").await?;
        course.note(began);
    }
    close(session).await
}

/// Begins logins at the rate, whether or not the earlier ones are done.
pub(super) async fn logins(dialer: &Rc<Dialer>, rate: f64, seconds: f64) -> io::Result<Reading> {
    let began = Instant::now();
    let failed = Rc::new(Cell::new(0.0));
    let done = Rc::new(Cell::new(0.0));
    let mut running = JoinSet::new();
    let mut tick = interval(Duration::from_secs_f64(1.0 / rate));
    while began.elapsed().as_secs_f64() < seconds {
        tick.tick().await;
        while running.try_join_next().is_some() {}
        if running.len() < MOST {
            let tally = (Rc::clone(&done), Rc::clone(&failed));
            running.spawn_local(tallied(Rc::clone(dialer), tally));
        }
    }
    let per_second = done.get() / began.elapsed().as_secs_f64();
    Ok(reading([
        ("per_second", per_second),
        ("failed", failed.get()),
    ]))
}

async fn tallied(dialer: Rc<Dialer>, (done, failed): (Rc<Cell<f64>>, Rc<Cell<f64>>)) {
    let counter = match login::once(&dialer).await {
        Ok(()) => done,
        Err(_) => failed,
    };
    counter.set(counter.get() + 1.0);
}
