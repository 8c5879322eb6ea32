//! The program's commands, run to their end.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Settings;

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `portcullis rules` on the proxy.toml of a directory, by somebody who came over SSH from an
/// address or by nobody who did.
pub(crate) fn rules(directory: &Path, arguments: &[&str], ssh_from: Option<&str>) -> Ran {
    edited("rules", directory, arguments, ssh_from)
}

/// Runs a family of commands that edit it.
pub(crate) fn edited(
    family: &str,
    directory: &Path,
    arguments: &[&str],
    ssh_from: Option<&str>,
) -> Ran {
    let mut command = portcullis(family, directory, arguments);
    command
        .env_remove("SSH_CONNECTION")
        .env_remove("SSH_CLIENT");
    if let Some(address) = ssh_from {
        command.env("SSH_CONNECTION", format!("{address} 50000 192.0.2.1 22"));
    }
    ran(command)
}

/// Runs `portcullis ca` on the proxy.toml of a directory.
pub(crate) fn ca(directory: &Path, arguments: &[&str]) -> Ran {
    ran(portcullis("ca", directory, arguments))
}

/// Runs `portcullis check` on `settings` in a directory.
pub(crate) fn check(directory: &Path, settings: &Settings) -> Ran {
    fs::write(directory.join("proxy.toml"), settings.to_toml()).unwrap();
    ran(portcullis("check", directory, &["--quiet"]))
}

/// Runs a gate that is not to start, to its end.
pub(crate) fn run(directory: &Path, settings: &Settings) -> Ran {
    fs::write(directory.join("proxy.toml"), settings.to_toml()).unwrap();
    let mut command = portcullis("run", directory, &[]);
    command.env_remove("RUST_LOG");
    command.envs(settings.env.iter().map(|(name, value)| (name, value)));
    ran(command)
}

fn portcullis(family: &str, directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.arg(family).args(arguments).current_dir(directory);
    command
}

fn ran(mut command: Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        code: output.status.code().unwrap(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}
