//! Whole logins: TCP, TLS, SCRAM, SELECT 1, close.

use std::io;
use std::rc::Rc;
use std::time::Instant;

use super::{Course, Dialer, all, close, query};
use crate::job::{Job, Reading, reading};

pub(super) async fn run(
    job: &Job,
    dialer: &Rc<Dialer>,
    (clients, seconds): (usize, f64),
) -> io::Result<Reading> {
    let course = Rc::new(Course::default());
    let clients = all(clients, || client(Rc::clone(dialer), Rc::clone(&course)));
    let (spent, ended) = tokio::join!(course.run(job, seconds), clients);
    ended?;
    let (logins, p50, p99) = course.summary()?;
    Ok(reading([
        ("per_second", logins / spent.wall),
        ("cpu_us", spent.proxy * 1e6 / logins),
        ("p50_us", p50),
        ("p99_us", p99),
        ("proxy_percent", spent.proxy_percent()),
        ("load_percent", spent.load_percent()),
    ]))
}

async fn client(dialer: Rc<Dialer>, course: Rc<Course>) -> io::Result<()> {
    while !course.is_over() {
        let began = Instant::now();
        once(&dialer).await?;
        course.note(began);
    }
    Ok(())
}

pub(super) async fn once(dialer: &Dialer) -> io::Result<()> {
    let mut session = dialer.login().await?;
    query(&mut session, "SELECT 1").await?;
    close(session).await
}
