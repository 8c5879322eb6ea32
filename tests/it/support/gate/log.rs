//! What a gate logs.

use std::io::{BufRead as _, BufReader};
use std::process::ChildStderr;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Instant;

use serde_json::Value;

use crate::support::PATIENCE;

/// A field of a log line, as text; empty if it is not there.
pub(crate) fn text(line: &Value, field: &str) -> String {
    let value = line.get(field).or_else(|| line.get("fields")?.get(field));
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// What the gate has logged up to now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    lines: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    pub(super) fn follow(stderr: ChildStderr) -> Self {
        let log = Self::default();
        let lines = log.lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.0.lock().unwrap().lines.push(line);
                lines.1.notify_all();
            }
            lines.0.lock().unwrap().ended = true;
            lines.1.notify_all();
        });
        log
    }

    /// Every line, as it came.
    pub(crate) fn raw(&self) -> String {
        self.lines.0.lock().unwrap().lines.join("\n")
    }

    /// Every line, parsed.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.lines
            .0
            .lock()
            .unwrap()
            .lines
            .iter()
            .map(|line| parse(line))
            .collect()
    }

    /// How many lines there are.
    pub(crate) fn len(&self) -> usize {
        self.lines.0.lock().unwrap().lines.len()
    }

    /// Waits for the first line of which `is_it` holds.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.wait_after(0, what, is_it)
    }

    /// Waits for the first line after the first `count` of which `is_it` holds.
    #[track_caller]
    pub(crate) fn wait_after(
        &self,
        count: usize,
        what: &str,
        is_it: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lines.0.lock().unwrap();
        let mut seen = count;
        loop {
            while let Some(line) = lines.lines.get(seen) {
                let line = parse(line);
                if is_it(&line) {
                    return line;
                }
                seen += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                let log = lines.lines.join("\n");
                drop(lines);
                panic!("the gate never logged {what:?}; it logged:\n{log}");
            }
            lines = self.lines.1.wait_timeout(lines, left).unwrap().0;
        }
    }
}

/// A line that is not JSON (a panic, a usage error) stands for itself.
fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.to_owned()))
}
