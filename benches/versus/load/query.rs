//! SELECT 1, one after another on each session.

use std::io;
use std::rc::Rc;
use std::time::Instant;

use super::{Course, Dialer, close, query};
use crate::job::{Job, Reading};

pub(super) async fn run(
    job: &Job,
    dialer: &Rc<Dialer>,
    extent: (usize, f64),
) -> io::Result<Reading> {
    super::measured(job, extent, |course| client(Rc::clone(dialer), course)).await
}

async fn client(dialer: Rc<Dialer>, course: Rc<Course>) -> io::Result<()> {
    let mut session = dialer.login().await?;
    while !course.is_over() {
        let began = Instant::now();
        query(&mut session, "SELECT 1").await?;
        course.note(began);
    }
    close(session).await
}
