//! The load: one process, one thread, as many clients as asked, and the accounts of who spent what.

mod bulk;
mod crowd;
mod login;
mod memory;
mod query;
mod storm;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::certs;
use crate::job::{Dialect, Job, Reading, Target, Tls, Work, reading};
use crate::pipe::{Pipe, fault, message, packet};
use crate::proc::Cpu;
use crate::scram::{self, Secret};
use crate::stats::percentile;

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// Clients run this long before anything counts.
const WARM_UP: Duration = Duration::from_millis(300);

/// Does the job and says what was measured: once, or in each of its windows.
pub(crate) async fn run(job: Job) -> io::Result<Vec<Reading>> {
    let dialer = Rc::new(Dialer::new(job.target.clone())?);
    let work = async {
        let once = match job.work.clone() {
            Work::Check { bytes } => bulk::check(&dialer, bytes).await,
            Work::Login { clients, seconds } => login::run(&job, &dialer, (clients, seconds)).await,
            Work::Bulk {
                direction,
                connections,
                bytes,
            } => bulk::run(&job, &dialer, (direction, connections, bytes)).await,
            Work::Query { clients, seconds } => query::run(&job, &dialer, (clients, seconds)).await,
            Work::Memory { steps, closed } => memory::run(&job, &dialer, (&steps, closed)).await,
            Work::Storm(turns) => return storm::run(&job, &dialer, turns).await,
            Work::Logins { rate } => {
                crowd::serve(&dialer, rate).await?;
                return Ok(Vec::new());
            }
        };
        once.map(|reading| vec![reading])
    };
    timeout(job.work.limit(), LocalSet::new().run_until(work))
        .await
        .map_err(|_| fault("took too long"))?
}

/// Makes sessions.
struct Dialer {
    target: Target,
    tls: TlsConnector,
    secret: Secret,
    startup: Vec<u8>,
    nonce: Cell<u64>,
}

impl Dialer {
    fn new(target: Target) -> io::Result<Self> {
        let parameters = b"user\0bench\0database\0bench\0application_name\0versus\0\0";
        Ok(Self {
            tls: certs::connector(target.tls)?,
            target,
            secret: Secret::derive(),
            startup: packet(&[&196_608_u32.to_be_bytes(), parameters]),
            nonce: Cell::new(0),
        })
    }

    /// From TCP to ReadyForQuery.
    async fn login(&self) -> io::Result<Pipe> {
        let mut pipe = Pipe::plain(TcpStream::connect(self.target.address).await?)?;
        if self.target.tls == Tls::Negotiated {
            pipe.send(&SSL_REQUEST).await?;
            if *pipe.exactly(1).await? != *b"S" {
                return Err(fault("no TLS offered"));
            }
        }
        if self.target.tls != Tls::Never {
            pipe = pipe.connect_tls(&self.tls).await?;
        }
        pipe.send(&self.startup).await?;
        self.authenticate(&mut pipe).await?;
        Ok(pipe)
    }

    async fn authenticate(&self, pipe: &mut Pipe) -> io::Result<()> {
        self.nonce.set(self.nonce.get().wrapping_add(1));
        let first_bare = scram::client_first_bare(self.nonce.get());
        loop {
            let (tag, body) = pipe.message().await?;
            match (tag, body.get(..4)) {
                (b'R', Some([0, 0, 0, 10])) => pipe.send(&initial_response(&first_bare)).await?,
                (b'R', Some([0, 0, 0, 11])) => {
                    let server_first = String::from_utf8_lossy(&body[4..]);
                    let response = self
                        .secret
                        .client_final(&first_bare, &server_first)
                        .ok_or_else(|| fault("no server-first-message"))?;
                    pipe.send(&message(b'p', &[response.as_bytes()])).await?;
                }
                (b'R' | b'S' | b'K' | b'N', _) => {}
                (b'Z', _) => return Ok(()),
                (other, _) => return Err(refused(other, &body)),
            }
        }
    }

    fn download(&self, bytes: u64) -> String {
        match self.target.dialect {
            Dialect::Fake => format!("DOWNLOAD {bytes}"),
            Dialect::Postgres => {
                let rows = bytes / 1024;
                format!("COPY (SELECT repeat('x', 1018) FROM generate_series(1, {rows})) TO STDOUT")
            }
        }
    }

    fn upload(&self, bytes: u64, check: bool) -> String {
        match (self.target.dialect, check) {
            (Dialect::Fake, true) => format!("UPLOAD {bytes} CHECK"),
            (Dialect::Fake, false) => format!("UPLOAD {bytes}"),
            // Every row travels and is parsed, none is stored.
            (Dialect::Postgres, _) => "COPY sink FROM STDIN WHERE false".to_owned(),
        }
    }
}

fn initial_response(first_bare: &str) -> Vec<u8> {
    let length = u32::try_from(first_bare.len() + 3).unwrap_or(u32::MAX);
    let length = length.to_be_bytes();
    message(
        b'p',
        &[b"SCRAM-SHA-256\0", &length, b"n,,", first_bare.as_bytes()],
    )
}

fn refused(tag: u8, body: &[u8]) -> io::Error {
    let text = String::from_utf8_lossy(body).replace('\0', " ");
    fault(format!("message {}: {text}", char::from(tag)))
}

/// A simple query, sent and not waited for.
async fn ask(pipe: &mut Pipe, text: &str) -> io::Result<()> {
    pipe.send(&message(b'Q', &[text.as_bytes(), &[0]])).await
}

/// A query and everything up to its ReadyForQuery.
async fn query(pipe: &mut Pipe, text: &str) -> io::Result<()> {
    ask(pipe, text).await?;
    loop {
        match pipe.message().await? {
            (b'Z', _) => return Ok(()),
            (b'E', body) => return Err(refused(b'E', &body)),
            _ => {}
        }
    }
}

/// Terminate, close_notify, FIN: as libpq leaves.
async fn close(mut pipe: Pipe) -> io::Result<()> {
    pipe.finish(&message(b'X', &[])).await
}

/// Runs that many clients at once, to the end of all or the first failure.
async fn all<F>(clients: usize, client: impl Fn() -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let mut running = JoinSet::new();
    for _ in 0..clients {
        running.spawn_local(client());
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

/// Has that many clients do the same for so many seconds, and tells how often they did it, how long
/// that took and what it cost.
async fn measured<F>(
    job: &Job,
    (clients, seconds): (usize, f64),
    client: impl Fn(Rc<Course>) -> F,
) -> io::Result<Reading>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    let course = Rc::new(Course::default());
    let clients = all(clients, || client(Rc::clone(&course)));
    let (spent, ended) = tokio::join!(course.run(job, seconds), clients);
    ended?;
    let (done, p50, p99) = course.summary()?;
    Ok(reading([
        ("per_second", done / spent.wall),
        ("cpu_us", spent.proxy * 1e6 / done),
        ("p50_us", p50),
        ("p99_us", p99),
        ("proxy_percent", spent.proxy_percent()),
        ("load_percent", spent.load_percent()),
    ]))
}

/// What the clients of one measurement share.
#[derive(Default)]
struct Course {
    phase: Cell<Phase>,
    /// Microseconds of what was done while it counted.
    taken: RefCell<Vec<f64>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    WarmUp,
    Counting,
    Over,
}

impl Course {
    fn is_over(&self) -> bool {
        self.phase.get() == Phase::Over
    }

    fn note(&self, began: Instant) {
        if self.phase.get() == Phase::Counting {
            self.taken.borrow_mut().push(micros(began.elapsed()));
        }
    }

    /// Warms up, counts for `seconds`, and says what was spent meanwhile.
    async fn run(&self, job: &Job, seconds: f64) -> Spent {
        sleep(WARM_UP).await;
        let window = Window::open(job);
        self.phase.set(Phase::Counting);
        sleep(Duration::from_secs_f64(seconds)).await;
        self.phase.set(Phase::Over);
        window.close()
    }

    /// How many, and the 50th and the 99th percentile of what they took.
    fn summary(&self) -> io::Result<(f64, f64, f64)> {
        let mut taken = self.taken.borrow_mut();
        if taken.is_empty() {
            return Err(fault("nothing came to its end while it counted"));
        }
        taken.sort_by(f64::total_cmp);
        let count = count(taken.len());
        Ok((count, percentile(&taken, 50), percentile(&taken, 99)))
    }
}

/// A stretch of time in which the processes' costs are counted.
struct Window {
    proxy: (u32, Cpu),
    load: (u32, u32, Cpu),
    began: Instant,
}

/// Seconds.
struct Spent {
    wall: f64,
    proxy: f64,
    /// The load's and the backend's, which share a core.
    load: f64,
}

impl Window {
    fn open(job: &Job) -> Self {
        let own = std::process::id();
        Self {
            load: (own, job.backend, load_cpu(own, job.backend)),
            proxy: (job.proxy, Cpu::of(job.proxy)),
            began: Instant::now(),
        }
    }

    fn close(self) -> Spent {
        let wall = self.began.elapsed().as_secs_f64();
        let (pid, proxy) = self.proxy;
        let (own, backend, load) = self.load;
        Spent {
            wall,
            proxy: Cpu::of(pid).since(proxy).as_secs_f64(),
            load: load_cpu(own, backend).since(load).as_secs_f64(),
        }
    }
}

fn load_cpu(own: u32, backend: u32) -> Cpu {
    Cpu::of(own).plus(Cpu::of(backend))
}

impl Spent {
    fn proxy_percent(&self) -> f64 {
        100.0 * self.proxy / self.wall
    }

    fn load_percent(&self) -> f64 {
        100.0 * self.load / self.wall
    }
}

fn micros(taken: Duration) -> f64 {
    taken.as_secs_f64() * 1e6
}

fn count(many: usize) -> f64 {
    f64::from(u32::try_from(many).unwrap_or(u32::MAX))
}
