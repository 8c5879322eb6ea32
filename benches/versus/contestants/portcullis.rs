//! The gate itself, of this revision or another.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Contestant, Stage, version};
use crate::job::Tls;
use crate::process::{Fault, Running, free_port, pinned, run};

/// Everything is allowed, nothing is logged, no limit is met: what remains is the data path.
const SETTINGS: &str = "[tls]
min_version = \"1.3\"
[admin]
listen = \"off\"
[log]
level = \"error\"
[limits]
sessions = 1_000_000
sessions_per_project = 1_000_000
sessions_per_source = 1_000_000
logins = 1_000_000
logins_per_source = 1_000_000
connections_per_second_per_source = 1_000_000
connection_burst_per_source = 1_000_000
";

/// In what a row of the gate's differs from the others of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Variant {
    /// As it is shipped, the backend in clear.
    Shipped,
    /// TLS towards the backend, too.
    BothLegs,
    /// So many handshakes at once that nobody waits for a turn.
    Uncapped,
}

impl Variant {
    const fn sslmode(self) -> &'static str {
        match self {
            Self::Shipped | Self::Uncapped => "disable",
            Self::BothLegs => "require",
        }
    }

    const fn runtime(self) -> &'static str {
        match self {
            Self::Shipped | Self::BothLegs => "",
            Self::Uncapped => "[runtime]\nhandshakes = 1024\n",
        }
    }
}

pub(super) fn start(stage: &Stage, binary: &Path, variant: Variant) -> Result<Contestant, Fault> {
    let (sslmode, runtime) = (variant.sslmode(), variant.runtime());
    let address = free_port()?;
    // Two revisions can run at once; each has a directory to itself.
    let home = stage.file(&format!("portcullis-{}", address.port()));
    fs::create_dir_all(home.join("certs"))?;
    let configuration = home.join("proxy.toml");
    let text = format!(
        "listen = [\"{address}\"]\ncerts = \"certs\"\n{SETTINGS}{runtime}[project.bench]\n\
         hosts = [\"localhost\", \"127.0.0.1\"]\nallow = [\"anywhere\"]\n\
         backend = \"postgres://{}\"\nsslmode = \"{sslmode}\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
        stage.backend,
        stage.leaf.certificate.display(),
        stage.leaf.key.display(),
    );
    fs::write(&configuration, text)?;
    let mut command = pinned(stage.proxy_core, binary);
    command
        .args(["run", "--config"])
        .arg(&configuration)
        .current_dir(&home);
    let log = home.join("log");
    Ok(Contestant {
        running: Running::start(&mut command, log)?.listening(address)?,
        target: stage.target(address, Tls::Negotiated),
        version: version(binary, "--version"),
        settings: format!(
            "allow anywhere; limits out of the way; log level error; no admin; backend {sslmode}{}",
            runtime
                .replace('\n', " ")
                .trim_end()
                .replace("[runtime]", ";")
        ),
    })
}

/// Builds another revision and says where its binary is. Its worktree is not below this one, whose settings
/// of cargo would be its own, too.
pub(crate) fn build(revision: &str) -> Result<(String, PathBuf), Fault> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let git = |arguments: &[&str]| run(Command::new("git").arg("-C").arg(root).args(arguments));
    let short = git(&["rev-parse", "--short", &format!("{revision}^{{commit}}")])?;
    let short = short.trim().to_owned();
    let home = root.join("target").join("versus");
    let target = home.join("build");
    let kept = home.join(format!("portcullis-{short}"));
    if !kept.exists() {
        fs::create_dir_all(&home)?;
        let outside = tempfile::tempdir()?;
        let tree = outside.path().join(&short);
        let place = tree.to_string_lossy();
        git(&["worktree", "add", "--force", "--detach", &place, &short])?;
        let built = Command::new(env!("CARGO"))
            .args(["build", "--release", "--bin", "portcullis"])
            .env("CARGO_TARGET_DIR", &target)
            .env_remove("JEMALLOC_SYS_WITH_MALLOC_CONF")
            .current_dir(&tree)
            .status();
        git(&["worktree", "remove", "--force", &place])?;
        if !built?.success() {
            return Err(format!("{revision} does not build").into());
        }
        fs::copy(target.join("release").join("portcullis"), &kept)?;
    }
    Ok((short, kept))
}
