//! `[log]`: how logs are written.

use super::section::Section;
use super::value::{Word, Words};

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSpec {
    /// As what.
    pub format: LogFormat,
    /// How much.
    pub level: LogLevel,
}

/// What a log line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The least important events that are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// What failed and needs somebody.
    Error,
    /// What may need somebody.
    Warn,
    /// What happened to whom.
    Info,
    /// What helps to find a fault.
    Debug,
}

impl Words for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("text", Self::Text),
        ("json", Self::Json),
    ];
}

impl Words for LogLevel {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
    ];
}

pub(super) fn read(log: &mut Section<'_, '_>) -> LogSpec {
    LogSpec {
        format: log.or("format", Word(LogFormat::Auto)).0,
        level: log.or("level", Word(LogLevel::Info)).0,
    }
}
