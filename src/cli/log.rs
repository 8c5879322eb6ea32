//! Where the log goes and how it looks: lines for people on a terminal, JSON for everything else.
//!
//! A thread of its own writes it. Whoever reads the log may stop reading, and the workers, who have
//! sessions to carry, must not wait for that: past a bounded number of lines the newest are dropped,
//! and their number is told.

use std::convert::Infallible;
use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use tokio::time::sleep;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use crate::config::{LogFormat, LogLevel, LogSpec};

/// Lines that may wait to be written: a few megabytes.
const WAITING: usize = 8192;

/// How often dropped lines are told.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The log, which is written to its end when this is dropped; a reader who doesn't read is waited
/// for about a second.
pub(super) struct Log {
    dropped: Dropped,
    _writer: WorkerGuard,
}

/// Knows of the lines that were dropped.
#[derive(Clone)]
pub(super) struct Dropped {
    counter: ErrorCounter,
    told: usize,
}

impl Log {
    /// Tells of dropped lines for as long as it is polled.
    pub(super) async fn tell_dropped(&self) -> Infallible {
        let mut dropped = self.dropped.clone();
        loop {
            sleep(TELL_EVERY).await;
            dropped.tell();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.dropped.tell();
    }
}

impl Dropped {
    fn tell(&mut self) {
        let Some(lines) = self.news() else { return };
        tracing::warn!(
            lines_since_start = lines,
            "log lines were dropped: the log is not read as fast as it is written"
        );
        // Told only if this line was not dropped itself.
        if self.counter.dropped_lines() == lines {
            self.told = lines;
        }
    }

    /// How many there were, if there are more than were told of.
    fn news(&self) -> Option<usize> {
        let lines = self.counter.dropped_lines();
        (lines > self.told).then_some(lines)
    }
}

/// Starts logging to standard error. `RUST_LOG` overrides the level, for those who debug the gate.
pub(super) fn start(spec: LogSpec) -> Log {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level(spec.level)));
    let json = match spec.format {
        LogFormat::Auto => !stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let (lines, log) = writer(stderr(), WAITING);
    let registry = tracing_subscriber::registry().with(filter);
    if json {
        let layer = fmt::layer().json().flatten_event(true).with_writer(lines);
        registry.with(layer.with_target(false)).init();
    } else {
        let layer = fmt::layer()
            .with_writer(lines)
            .with_ansi(stderr().is_terminal());
        registry.with(layer.with_target(false)).init();
    }
    log
}

fn writer(to: impl Write + Send + 'static, waiting: usize) -> (NonBlocking, Log) {
    let (lines, writer) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(waiting)
        .thread_name("log")
        .finish(to);
    let dropped = Dropped {
        counter: lines.error_counter(),
        told: 0,
    };
    let log = Log {
        dropped,
        _writer: writer,
    };
    (lines, log)
}

const fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A log whose reader reads a line only when it is told to, and nothing more once the teller
    /// is gone.
    struct Reader {
        may_read: Receiver<()>,
        read: Sender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.may_read.recv().ok();
            self.read.send(line.to_vec()).ok();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn reader() -> (Sender<()>, Receiver<Vec<u8>>, Reader) {
        let ((tell, may_read), (read, lines)) = (channel(), channel());
        (tell, lines, Reader { may_read, read })
    }

    #[test]
    fn a_log_that_nobody_reads_blocks_nobody_and_what_it_dropped_is_known() {
        let (tell, _lines, reader) = reader();
        let (mut lines, log) = writer(reader, 4);
        assert_eq!(log.dropped.news(), None);
        for _ in 0..100 {
            lines.write_all(b"line\n").unwrap();
        }
        // One line may be in the reader's hands already.
        let dropped = log.dropped.news().unwrap();
        assert!((95..=96).contains(&dropped), "{dropped}");
        drop(tell);
    }

    #[test]
    fn dropped_lines_are_told_once() {
        let (tell, _lines, reader) = reader();
        let (mut lines, log) = writer(reader, 1);
        for _ in 0..10 {
            lines.write_all(b"line\n").unwrap();
        }
        let mut dropped = log.dropped.clone();
        assert!(dropped.news().is_some());
        dropped.tell();
        assert_eq!(dropped.news(), None);
        drop(tell);
    }

    #[test]
    fn the_last_lines_are_written_before_the_process_ends() {
        let (tell, read, reader) = reader();
        let (mut lines, log) = writer(reader, 100);
        for _ in 0..100 {
            lines.write_all(b"line\n").unwrap();
        }
        drop(tell);
        drop((lines, log));
        assert_eq!(read.iter().count(), 100);
    }
}
