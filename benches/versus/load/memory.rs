//! What idle sessions take, and what stays once they are gone.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Dialer, close, count, login, query};
use crate::job::{Job, Reading};
use crate::pipe::Pipe;
use crate::proc::{Memory, sockets_kib};

/// Logins at once while sessions are opened.
const AT_ONCE: usize = 16;
const SETTLE: Duration = Duration::from_secs(1);

pub(super) async fn run(
    job: &Job,
    dialer: &Rc<Dialer>,
    (steps, closed): (&[usize], f64),
) -> io::Result<Reading> {
    // What is made once, at the first logins, is nobody's session.
    for _ in 0..AT_ONCE {
        login::once(dialer).await?;
    }
    sleep(SETTLE).await;
    let base = Memory::of(job.proxy);
    let sockets = sockets_kib();
    let mut reading = Reading::from([("base_mib".to_owned(), base.pss / 1024.0)]);
    let mut sessions = Vec::new();
    let mut peak = base;
    for (at, &step) in (1..).zip(steps) {
        let name = if at == steps.len() {
            "most".to_owned()
        } else {
            step.to_string()
        };
        open(dialer, &mut sessions, step).await?;
        sleep(SETTLE).await;
        peak = Memory::of(job.proxy);
        // Of a session's four sockets two are the proxy's.
        let kernel = peak.kernel - base.kernel + (sockets_kib() - sockets) / 2.0;
        let sessions = count(step);
        reading.insert(format!("kib_{name}"), (peak.pss - base.pss) / sessions);
        reading.insert(format!("kernel_kib_{name}"), kernel / sessions);
    }
    for session in sessions {
        close(session).await?;
    }
    sleep(Duration::from_secs_f64(closed)).await;
    let left = Memory::of(job.proxy).pss - base.pss;
    reading.insert("left_mib".to_owned(), left / 1024.0);
    reading.insert(
        "left_percent".to_owned(),
        100.0 * left / (peak.pss - base.pss),
    );
    Ok(reading)
}

async fn open(dialer: &Rc<Dialer>, sessions: &mut Vec<Pipe>, target: usize) -> io::Result<()> {
    let mut opening = JoinSet::new();
    let mut missing = target.saturating_sub(sessions.len());
    while missing > 0 || !opening.is_empty() {
        while missing > 0 && opening.len() < AT_ONCE {
            opening.spawn_local(one(Rc::clone(dialer)));
            missing -= 1;
        }
        if let Some(opened) = opening.join_next().await {
            sessions.push(opened??);
        }
    }
    Ok(())
}

async fn one(dialer: Rc<Dialer>) -> io::Result<Pipe> {
    let mut session = dialer.login().await?;
    query(&mut session, "SELECT 1").await?;
    Ok(session)
}
