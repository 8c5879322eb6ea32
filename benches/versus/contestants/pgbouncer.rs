//! PgBouncer in session mode, TLS on the client's side.
//!
//! It ends the SCRAM exchange itself and keeps backend connections from one client to the next, so its
//! login does without the backend's: that is how it is used, and counted in its favour.

use std::fs;

use super::{Contestant, Stage, version};
use crate::job::Tls;
use crate::process::{Fault, Running, find, free_port, pinned_as};

/// Neither pools nor clients are short; the log is silent. `auth_file` holds SCRAM verifiers, not
/// passwords: so no login derives keys.
const SETTINGS: &str = "pool_mode = session
auth_type = scram-sha-256
client_tls_sslmode = require
client_tls_protocols = tlsv1.3
server_tls_sslmode = disable
max_client_conn = 10000
default_pool_size = 10000
max_db_connections = 0
listen_backlog = 1024
server_idle_timeout = 5
log_connections = 0
log_disconnections = 0
log_stats = 0
log_pooler_errors = 0
";

pub(super) fn start(stage: &Stage) -> Result<Contestant, Fault> {
    let program = find("pgbouncer")?;
    let address = free_port()?;
    let (users, key) = (stage.file("pgbouncer.users"), stage.file("pgbouncer.key"));
    fs::write(&users, format!("\"bench\" \"{}\"\n", stage.verifier))?;
    // It runs as another user, who has to read the key of this throwaway leaf.
    fs::write(&key, fs::read(&stage.leaf.key)?)?;
    let configuration = stage.file("pgbouncer.ini");
    let text = format!(
        "[databases]\nbench = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {}\nunix_socket_dir =\nauth_file = {}\nclient_tls_cert_file = {}\n\
         client_tls_key_file = {}\n{SETTINGS}",
        stage.backend.port(),
        address.port(),
        users.display(),
        stage.leaf.certificate.display(),
        key.display(),
    );
    fs::write(&configuration, text)?;
    let mut command = pinned_as("postgres", stage.proxy_core, &program);
    command.arg("-q").arg(&configuration);
    Ok(Contestant {
        running: Running::start(&mut command, stage.file("pgbouncer.log"))?.listening(address)?,
        target: stage.target(address, Tls::Negotiated),
        version: version(&program, "--version"),
        settings: SETTINGS.trim().replace('\n', "; "),
    })
}
