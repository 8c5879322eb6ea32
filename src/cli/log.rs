//! Where the log goes and how it looks: lines for people on a terminal, JSON for everything else.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use crate::config::{LogFormat, LogLevel, LogSpec};

/// Starts logging to standard error. `RUST_LOG` overrides the level, for those who debug the gate.
pub(super) fn start(spec: LogSpec) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level(spec.level)));
    let json = match spec.format {
        LogFormat::Auto => !stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let registry = tracing_subscriber::registry().with(filter);
    if json {
        let layer = fmt::layer().json().flatten_event(true).with_writer(stderr);
        registry.with(layer.with_target(false)).init();
    } else {
        let layer = fmt::layer()
            .with_writer(stderr)
            .with_ansi(stderr().is_terminal());
        registry.with(layer.with_target(false)).init();
    }
}

const fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    }
}
