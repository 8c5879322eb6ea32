//! The gate's own binary, with a proxy.toml of its own.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread;

use tempfile::TempDir;

use super::limited;

pub(crate) struct Gate {
    process: Child,
    pub(crate) address: SocketAddr,
    directory: TempDir,
}

impl Gate {
    pub(crate) fn start(backend: &str, with_tls: bool) -> Self {
        let directory = TempDir::new().unwrap();
        let sslmode = if with_tls { "require" } else { "disable" };
        let many = 1_000_000;
        let config = format!(
            "listen = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"off\"\n[log]\nformat = \"json\"\n\
             [limits]\nsessions = {many}\nsessions_per_project = {many}\nsessions_per_source = {many}\n\
             logins = {many}\nlogins_per_source = {many}\nconnections_per_second_per_source = {many}\n\
             connection_burst_per_source = {many}\n\
             [project.acme]\nhosts = [\"acme.localhost\"]\nallow = [\"127.0.0.1\"]\n\
             backend = \"postgres://{backend}\"\nsslmode = \"{sslmode}\"\n"
        );
        fs::write(directory.path().join("proxy.toml"), config).unwrap();
        let mut process = limited(env!("CARGO_BIN_EXE_portcullis"))
            .arg("run")
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let address = log.by_ref().lines().find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            line["address"].as_str()?.parse().ok()
        });
        thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        Self {
            process,
            address: address.expect("a gate that listens"),
            directory,
        }
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.directory.path().join("certs/acme/ca.crt")
    }

    /// Its proportional set size in bytes.
    pub(crate) fn pss(&self) -> usize {
        let file = format!("/proc/{}/smaps_rollup", self.process.id());
        let text = fs::read_to_string(file).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib = line
            .and_then(|rest| rest.split_whitespace().next())
            .unwrap();
        1024 * kib.parse::<usize>().unwrap()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
