//! Processes that don't outlive this one, each on its core.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::job::{Job, Reading};

pub(crate) type Fault = Box<dyn Error + Send + Sync>;

/// A proxy that doesn't listen by then never will.
const START: Duration = Duration::from_secs(10);

/// Where a process runs, and how much it lets others disturb it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Core {
    pub(crate) number: usize,
    /// Before every ordinary process of the machine (SCHED_RR).
    pub(crate) realtime: bool,
}

/// A child process; killed when this is dropped, and by the kernel if this process dies first.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it, its output going to `log`.
    pub(crate) fn start(command: &mut Command, log: PathBuf) -> Result<Self, Fault> {
        let output = File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        Ok(Self { child, log })
    }

    /// Starts a role of this program that says its port in its first line.
    pub(crate) fn role(command: &mut Command, log: PathBuf) -> Result<(Self, SocketAddr), Fault> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()?;
        let mut running = Self { child, log };
        let mut line = String::new();
        if let Some(output) = running.child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let port: u16 = line.trim().parse().map_err(|_| running.last_words())?;
        Ok((running, local(port)))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until somebody listens at the address.
    pub(crate) fn listening(mut self, address: SocketAddr) -> Result<Self, Fault> {
        let deadline = Instant::now() + START;
        while TcpStream::connect(address).is_err() {
            if self.child.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(self.last_words());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(self)
    }

    /// Moves all its threads to another core.
    pub(crate) fn pin(&self, core: Core) -> Result<(), Fault> {
        let (pid, core) = (self.pid().to_string(), core.number.to_string());
        let moved = || run(Command::new("taskset").args(["-acp", &core, &pid])).map(drop);
        // A thread that ends meanwhile makes it fail, as one of stunnel's does with each connection.
        (0..4).find_map(|_| moved().ok()).map_or_else(moved, Ok)
    }

    fn last_words(&self) -> Fault {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines
            .get(lines.len().saturating_sub(5)..)
            .unwrap_or_default();
        format!("did not start: {}", tail.join(" / ")).into()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Failing means that it has gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A program on one core that dies with this process.
pub(crate) fn pinned(core: Core, program: impl AsRef<Path>) -> Command {
    leashed(&[], core, program.as_ref())
}

/// The same as another user; servers of PostgreSQL's family refuse to run as root.
pub(crate) fn pinned_as(user: &str, core: Core, program: impl AsRef<Path>) -> Command {
    let (uid, gid) = (format!("--reuid={user}"), format!("--regid={user}"));
    if is_root() {
        leashed(&[&uid, &gid, "--clear-groups"], core, program.as_ref())
    } else {
        pinned(core, program)
    }
}

fn leashed(options: &[&str], core: Core, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .args(options)
        .args(["--", "taskset", "-c", &core.number.to_string()])
        .arg(program);
    if !core.realtime {
        return command;
    }
    let mut first = Command::new("chrt");
    first.args(["-r", "1", "setpriv"]).args(command.get_args());
    first
}

/// This program as a witness on a core, before every process that is measured. Needs root.
pub(crate) fn watchful(core: usize) -> io::Result<Command> {
    let mut command = Command::new("chrt");
    command
        .args(["--fifo", "2", "setpriv", "--pdeathsig", "KILL", "--"])
        .args(["taskset", "-c", &core.to_string()])
        .arg(std::env::current_exe()?)
        .args(["--as", "witness", ""]);
    Ok(command)
}

/// This program again, as something else.
pub(crate) fn role(core: Core, name: &str, setup: &str) -> Result<Command, Fault> {
    let mut command = pinned(core, std::env::current_exe()?);
    command.args(["--as", name, setup]);
    Ok(command)
}

/// Has a job done by a load process.
pub(crate) fn load(core: Core, job: &Job) -> Result<Vec<Reading>, Fault> {
    let mut command = role(core, "load", &serde_json::to_string(job)?)?;
    Ok(serde_json::from_str(&run(&mut command)?)?)
}

/// A second load process beside this one, which gives way to it whenever it can run.
#[derive(Debug)]
pub(crate) struct Beside {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Beside {
    pub(crate) fn start(job: &Job) -> Result<Self, Fault> {
        // Being nicer isn't enough: the kernel lets whoever runs end a slice of some ms. One of SCHED_IDLE
        // is preempted at once, and one of no more than SCHED_OTHER by whoever is of SCHED_RR.
        let policy = if job.realtime { "--other" } else { "--idle" };
        let mut child = Command::new("chrt")
            .args([policy, "0", "setpriv", "--pdeathsig", "KILL"])
            .arg(std::env::current_exe()?)
            .args(["--as", "load", &serde_json::to_string(job)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("it has no input or no output".into());
        };
        Ok(Self {
            child,
            questions,
            answers: BufReader::new(answers),
        })
    }

    /// Tells it a line, and waits for its answer.
    pub(crate) fn ask(&mut self, line: &str) -> Result<Reading, Fault> {
        writeln!(self.questions, "{line}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // Failing means that it has gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs to its end and takes what it printed; a failure's words are what it printed to stderr.
pub(crate) fn run(command: &mut Command) -> Result<String, Fault> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.trim().lines().last().unwrap_or("failed").to_owned();
    Err(last.into())
}

/// Where a program is, also where only root usually looks.
pub(crate) fn find(program: &str) -> Result<PathBuf, Fault> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    places
        .map(|place| place.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| format!("{program} is not installed").into())
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind(local(0))?.local_addr()
}

pub(crate) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
