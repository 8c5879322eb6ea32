//! stunnel as a TLS server that answers SSLRequest.

use std::fs;

use super::{Contestant, Stage, version};
use crate::job::Tls;
use crate::process::{Fault, Running, find, free_port, pinned};

const GLOBAL: &str = "foreground = yes
pid =
debug = crit
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
";
const SERVICE: &str = "protocol = pgsql
sslVersion = TLSv1.3
ciphersuites = TLS_AES_128_GCM_SHA256
curves = X25519
sessionResume = no
TIMEOUTclose = 0
";

pub(super) fn start(stage: &Stage) -> Result<Contestant, Fault> {
    let program = find("stunnel")?;
    let address = free_port()?;
    let configuration = stage.file("stunnel.conf");
    let text = format!(
        "{GLOBAL}[gate]\naccept = {address}\nconnect = {}\ncert = {}\nkey = {}\n{SERVICE}",
        stage.backend,
        stage.leaf.certificate.display(),
        stage.leaf.key.display(),
    );
    fs::write(&configuration, text)?;
    let mut command = pinned(stage.proxy_core, &program);
    command.arg(&configuration);
    Ok(Contestant {
        running: Running::start(&mut command, stage.file("stunnel.log"))?.listening(address)?,
        target: stage.target(address, Tls::Negotiated),
        version: version(&program, "-version"),
        settings: format!("{GLOBAL}{SERVICE}").trim().replace('\n', "; "),
    })
}
