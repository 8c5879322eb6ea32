//! Whether the machine was there. A virtual processor that its host gives to others for some ms shows in
//! everybody's latency, and a p99 is made of such moments long before it is made of what a proxy does.
//!
//! On each core a process that goes before all others sleeps, again and again, and notes when it woke
//! late. Whoever is measured can't delay it, so what it tells is the machine's and nobody else's.

use std::io::{self, BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::process::{Fault, watchful};

const NAP: Duration = Duration::from_micros(500);
/// What the kernel's own work on a core delays a waking by stays well below.
const LATE: Duration = Duration::from_micros(250);
/// A moment counts if nothing happens to the machine for as long afterwards. It doesn't depend on how
/// long the answer takes: else the slow would be left out more often than the fast.
const AHEAD: Duration = Duration::from_millis(2);

/// Since 1970: two processes read the same clock.
pub(crate) fn clock() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default()
}

/// The role: a line as it begins, then one of two numbers, in µs, for each absence. Until it is killed.
pub(crate) fn watch() -> Result<(), Fault> {
    println!("here");
    let mut before = clock();
    loop {
        thread::sleep(NAP);
        let now = clock();
        if now.saturating_sub(before + NAP) > LATE {
            println!("{} {}", before.as_micros(), now.as_micros());
        }
        before = now;
    }
}

/// A processor was not there, or its neighbour wasn't.
#[derive(Clone, Copy, Debug)]
struct Absence {
    from: Duration,
    to: Duration,
}

impl Absence {
    /// Afterwards what was left lying is done first: for as long as it lay, that isn't the machine's usual.
    fn spoils(self, moment: Duration) -> bool {
        let over = self.to + self.to.saturating_sub(self.from);
        self.from < moment + AHEAD && moment < over
    }

    fn parse(line: &str) -> Option<Self> {
        let (from, to) = line.split_once(' ')?;
        Some(Self {
            from: Duration::from_micros(from.parse().ok()?),
            to: Duration::from_micros(to.parse().ok()?),
        })
    }
}

/// Watches the cores until it is dropped.
#[derive(Debug)]
pub(crate) struct Witnesses {
    children: Vec<Child>,
    seen: Arc<Mutex<Vec<Absence>>>,
}

impl Witnesses {
    /// One on each core; none where that isn't allowed, and then every moment counts.
    pub(crate) fn on(cores: &[usize]) -> io::Result<Self> {
        let mut witnesses = Self {
            children: Vec::new(),
            seen: Arc::default(),
        };
        for core in cores {
            let mut child = watchful(*core)?
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()?;
            let output = child.stdout.take();
            witnesses.children.push(child);
            if let Some(output) = output {
                witnesses.listen(BufReader::new(output))?;
            }
        }
        Ok(witnesses)
    }

    fn listen(&self, mut output: BufReader<ChildStdout>) -> io::Result<()> {
        output.read_line(&mut String::new())?;
        let seen = Arc::clone(&self.seen);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.extend(Absence::parse(&line));
            }
        });
        Ok(())
    }

    /// Whether the machine was there, before it and for a while after it.
    pub(crate) fn vouch_for(&self, moment: Duration) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        !seen.iter().any(|absence| absence.spoils(moment))
    }
}

impl Drop for Witnesses {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Failing means that it has gone already.
            drop(child.kill());
            drop(child.wait());
        }
    }
}
