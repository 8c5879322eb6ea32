//! `portcullis ca issue`: certificates for clients, and for servers behind the gate.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::super::rules::Failure;
use super::{Place, day, refuse_present, write_new};
use crate::address::Host;
use crate::id::ProjectName;
use crate::pki::{ClientName, Handout, Sharer};

/// A client's life, in days: people come back for the next one.
const CLIENT_DAYS: i64 = 30;
/// A server's: somebody has to put the next one there.
const BACKEND_DAYS: i64 = 365;

/// What `issue` takes.
#[derive(Debug, Args)]
pub(super) struct IssueArgs {
    /// The project
    project: ProjectName,
    #[command(flatten)]
    whom: WhomArgs,
    /// For the key of this certificate signing request, PEM; only the key is taken from it
    #[arg(long, value_name = "FILE", requires = "client")]
    csr: Option<PathBuf>,
    /// Not a leaf of its own: the one that the gate shows, and every one after it, so that SCRAM's
    /// channel binding holds from the client to the server
    #[arg(long, requires_all = ["backend", "out"], conflicts_with = "days")]
    shared: bool,
    /// How long it is valid [default: 30 for a client, 365 for a server]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(i64).range(1..=3650))]
    days: Option<i64>,
    /// The directory to write to [default: here]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct WhomArgs {
    /// To a client: the user's name
    #[arg(long, value_name = "USER")]
    client: Option<ClientName>,
    /// To a server behind the gate: its name, and each other name or address by --backend again
    #[arg(long, value_name = "HOST")]
    backend: Vec<Host>,
}

impl IssueArgs {
    fn life(&self, default: i64) -> SignedDuration {
        let days = self.days.unwrap_or(default);
        SignedDuration::from_hours(days.saturating_mul(24))
    }

    fn out(&self) -> &Path {
        self.out.as_deref().unwrap_or_else(|| Path::new(""))
    }
}

pub(super) fn issue(config: &Path, args: &IssueArgs) -> Result<(), Failure> {
    let place = Place::open(config, &args.project)?;
    match (&args.whom.client, args.whom.backend.as_slice()) {
        (Some(client), _) => to_client(&place, args, client),
        (None, [host]) if args.shared => share(&place, args, host),
        (None, _) if args.shared => Err(Failure::usage("--shared takes one --backend")),
        (None, hosts) => to_backend(&place, args, hosts),
    }
}

fn to_client(place: &Place, args: &IssueArgs, client: &ClientName) -> Result<(), Failure> {
    let name = file_name(client.as_str());
    let (crt, key) = files(args.out(), &name);
    let (life, now) = (args.life(CLIENT_DAYS), Timestamp::now());
    let handout = match &args.csr {
        None => {
            refuse_present(&[&crt, &key])?;
            place.store.issue_to_client(client, life, now)
        }
        Some(csr) => {
            refuse_present(&[&crt])?;
            let request = fs::read_to_string(csr).map_err(|error| {
                Failure::refused(format!("cannot read {}: {error}", csr.display()))
            })?;
            place.store.issue_for_request(client, (&request, life), now)
        }
    };
    let handout = handout.map_err(Failure::refused)?;
    write(&handout, &crt, &key)?;
    let key = if args.csr.is_some() {
        Path::new("YOUR-KEY")
    } else {
        &key
    };
    println!(
        "{}: a certificate for {client}, valid to {}, serial number {}\n\
         A client of libpq's adds: sslcert={} sslkey={}\n\
         It ends early by: portcullis ca revoke {} {}",
        place.spec.name,
        day(handout.record.not_after),
        handout.record.serial,
        crt.display(),
        key.display(),
        place.spec.name,
        handout.record.serial,
    );
    Ok(())
}

fn to_backend(place: &Place, args: &IssueArgs, hosts: &[Host]) -> Result<(), Failure> {
    let name = hosts.first().map_or_else(String::new, Host::to_string);
    let (crt, key) = files(args.out(), &file_name(&name));
    refuse_present(&[&crt, &key])?;
    let life = args.life(BACKEND_DAYS);
    let handout = place.store.issue_to_backend(hosts, life, Timestamp::now());
    let handout = handout.map_err(Failure::refused)?;
    write(&handout, &crt, &key)?;
    println!(
        "{}: a certificate for {}, valid to {}, serial number {}\n\
         Nobody renews it: issue the next one before that day.",
        place.spec.name,
        handout.record.name,
        day(handout.record.not_after),
        handout.record.serial,
    );
    print!("{}", for_server(&crt, &key));
    Ok(())
}

fn share(place: &Place, args: &IssueArgs, host: &Host) -> Result<(), Failure> {
    if let Some(own) = &place.spec.certificate {
        return Err(Failure::refused(format!(
            "{} shows a certificate of its own: give the server that one, {} and {}",
            place.spec.name,
            own.chain.display(),
            own.key.display()
        )));
    }
    let directory = std::path::absolute(args.out()).map_err(Failure::refused)?;
    let (crt, key) = files(&directory, "server");
    let sharer = Sharer {
        host: host.clone(),
        directory,
    };
    let shared = place
        .store
        .share_with(sharer, &place.spec.hosts, Timestamp::now());
    shared.map_err(Failure::refused)?;
    println!(
        "{}: {host} shares the gate's leaf. The gate writes each next one there, about every 60 days, \
         and shows it at once: have the server reload when the files change (select pg_reload_conf()). \
         Until it has, logins that bind SCRAM to the leaf are refused.",
        place.spec.name
    );
    print!("{}", for_server(&crt, &key));
    Ok(())
}

/// The lines that put a server's certificate to use on both sides.
fn for_server(crt: &Path, key: &Path) -> String {
    format!(
        "postgresql.conf:  ssl = on\n\
        \x20                 ssl_cert_file = '{}'\n\
        \x20                 ssl_key_file = '{}'    # must belong to the server's account, 0600\n\
         proxy.toml:       sslmode = \"verify-full\"\n\
        \x20                 sslrootcert = \"project\"\n",
        crt.display(),
        key.display(),
    )
}

fn files(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    let file = |extension| directory.join(format!("{name}.{extension}"));
    (file("crt"), file("key"))
}

/// The key first, so that no certificate lies there whose key could not be written.
fn write(handout: &Handout, crt: &Path, key: &Path) -> Result<(), Failure> {
    if let Some(pem) = &handout.key_pem {
        write_new(key, pem, 0o600)?;
    }
    write_new(crt, &handout.certificate_pem, 0o644)
}

/// A file's name for whoever it is about: what could mean something to a shell or a file system does
/// not get in.
fn file_name(text: &str) -> String {
    let plain = |c: char| {
        if c.is_alphanumeric() || "-_.@".contains(c) {
            c
        } else {
            '_'
        }
    };
    let name: String = text.chars().map(plain).collect();
    name.replacen('.', if text.starts_with('.') { "_" } else { "." }, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_name_never_leads_a_file_out_of_its_directory() {
        for (user, name) in [
            ("alice", "alice"),
            ("a.b@example.com", "a.b@example.com"),
            ("../../etc/passwd", "_._.._etc_passwd"),
            (".", "_"),
            ("a b;rm", "a_b_rm"),
        ] {
            assert_eq!(file_name(user), name);
            assert!(!file_name(user).contains('/') && !file_name(user).starts_with('.'));
        }
    }
}
