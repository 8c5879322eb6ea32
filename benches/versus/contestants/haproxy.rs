//! HAProxy in TCP mode: as a plain relay, and with direct TLS, as it knows no SSLRequest.

use std::fs;

use super::{Contestant, Stage, version};
use crate::job::Tls;
use crate::process::{Fault, Running, find, free_port, pinned};

/// One thread for the one core; no log. `maxconn` is what 20,000 descriptors allow.
const GLOBAL: &str = "global
  nbthread 1
  maxconn 9900
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
";
const TERMS: &str =
    "ssl-min-ver TLSv1.3 ciphersuites TLS_AES_128_GCM_SHA256 curves X25519 alpn postgresql";

pub(super) fn plain(stage: &Stage) -> Result<Contestant, Fault> {
    start(stage, "haproxy", Tls::Never)
}

pub(super) fn with_tls(stage: &Stage) -> Result<Contestant, Fault> {
    start(stage, "haproxy-tls", Tls::Direct)
}

fn start(stage: &Stage, name: &str, tls: Tls) -> Result<Contestant, Fault> {
    let program = find("haproxy")?;
    let address = free_port()?;
    let bind = match tls {
        Tls::Never => String::new(),
        Tls::Negotiated | Tls::Direct => {
            let both = stage.file("haproxy.pem");
            let chain = fs::read_to_string(&stage.leaf.certificate)?;
            fs::write(&both, chain + &fs::read_to_string(&stage.leaf.key)?)?;
            format!("ssl crt {} {TERMS}", both.display())
        }
    };
    let configuration = stage.file(&format!("{name}.cfg"));
    let text = format!(
        "{GLOBAL}listen gate\n  bind {address} {bind}\n  server backend {}\n",
        stage.backend
    );
    fs::write(&configuration, text)?;
    let mut command = pinned(stage.proxy_core, &program);
    command.arg("-db").arg("-f").arg(&configuration);
    let log = stage.file(&format!("{name}.log"));
    let words = GLOBAL.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(Contestant {
        running: Running::start(&mut command, log)?.listening(address)?,
        target: stage.target(address, tls),
        version: version(&program, "-v"),
        settings: match tls {
            Tls::Never => words,
            Tls::Negotiated | Tls::Direct => format!("{words} bind {TERMS}"),
        },
    })
}
