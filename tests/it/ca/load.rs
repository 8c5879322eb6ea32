//! All that happens to certificates in the life of a project, while sessions are under way and logins
//! go on: none of them may notice (T13, T27).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use portcullis::cli::demo::cluster::Cluster;
use rustls::pki_types::CertificateDer;

use super::renewal::{aged, due_in_a_moment};
use crate::support::PATIENCE;
use crate::support::client_ca::{ClientCa, ClientLeaf, Showing};
use crate::support::clients::{Client, Running, conninfo};
use crate::support::gate::{Gate, Project, Settings, directory_of};
use crate::support::postgres::{PASSWORD, Server, wait_for};
use crate::support::raw::{Secured, TlsClient};
use crate::support::until;

/// What a client sees before it says who it is: the chain, and of how many CAs it is asked for a
/// certificate.
fn shown(gate: &Gate) -> (Vec<CertificateDer<'static>>, usize) {
    let showing = Showing::nothing();
    let tls = TlsClient::trusting_anybody("acme.localhost").showing(showing.clone());
    let mut client = Secured::connect(gate.addr(), &tls);
    client.handshake().unwrap();
    let asked = showing.asked.lock().unwrap().last().map_or(0, Vec::len);
    (client.chain(), asked)
}

/// Does something to certificates, and waits until clients see it.
#[track_caller]
fn seen(gate: &Gate, change: impl FnOnce()) {
    let before = shown(gate);
    change();
    until("the change is seen", || shown(gate) != before);
}

/// Logs in again and again by what the conninfo is at that time, and tells of every login.
fn keep_logging_in(conninfo: &Mutex<String>, over: &AtomicBool, told: &Sender<String>) {
    while !over.load(Ordering::Relaxed) {
        let conninfo = conninfo.lock().unwrap().clone();
        let ran = Client::psql(&conninfo).args(["-c", "select 1"]).run();
        let said = if ran.succeeded {
            String::new()
        } else {
            ran.stderr
        };
        if told.send(said).is_err() {
            return;
        }
    }
}

/// One who logs in again and again.
struct Regular {
    conninfo: Mutex<String>,
    told: Receiver<String>,
}

impl Regular {
    fn new(conninfo: String) -> (Self, Sender<String>) {
        let (tell, told) = channel();
        let conninfo = Mutex::new(conninfo);
        (Self { conninfo, told }, tell)
    }

    /// Has it use another conninfo from now on.
    fn logs_in_by(&self, conninfo: String) {
        *self.conninfo.lock().unwrap() = conninfo;
    }

    /// Waits for a login that begins from now on. None of those before failed either.
    #[track_caller]
    fn logs_in(&self) {
        let before = self.told.try_iter().collect::<Vec<_>>();
        // The first may have been under way.
        let now = [(); 2].map(|()| self.told.recv_timeout(PATIENCE).unwrap());
        for said in before.iter().chain(&now) {
            assert_eq!(said, "", "of {}", self.conninfo.lock().unwrap());
        }
    }
}

/// Ends the load however the test ends, or it would be waited for.
struct Ending<'o>(&'o AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A gate that asks for client certificates, by the project's CA, which is a hundred days old, or by
/// that of the staff.
struct Site {
    server: Cluster,
    gate: Gate,
    staff: ClientLeaf,
}

impl Site {
    fn of(mode: &str) -> Self {
        let server = Server::System.plain();
        let role = format!("create role bob login password '{PASSWORD}'");
        server.sql(&role).unwrap();
        let staff = ClientCa::new("staff");
        let directory = directory_of(&[("staff-ca.crt", staff.pem())]);
        aged(&directory.path().join("certs"));
        let backend = format!("postgres://127.0.0.1:{}", server.port());
        let acme = Project::new("acme", &backend)
            .text("client_certificate", mode)
            .text_list("client_ca", &["project", "staff-ca.crt"]);
        Self {
            server,
            gate: Gate::within(directory, &Settings::new(&[acme])),
            staff: staff.leaf("alice"),
        }
    }

    /// A copy of the bundle as it is now.
    fn bundle(&self, name: &str) -> PathBuf {
        let copy = self.gate.directory().join(name);
        fs::copy(self.gate.file("acme", "ca.crt"), &copy).unwrap();
        copy
    }

    /// A conninfo by a copy of the bundle, with the certificate and key in a folder if there is one.
    fn conninfo(&self, bundle: &Path, user: &str, folder: Option<&Path>) -> String {
        let current = self.gate.file("acme", "ca.crt").display().to_string();
        let conninfo = conninfo(&self.gate, "acme")
            .replace(&current, &bundle.display().to_string())
            .replace("user=alice", &format!("user={user}"));
        folder.map_or_else(
            || conninfo.clone(),
            |folder| {
                let file = |kind| folder.join(format!("{user}.{kind}")).display().to_string();
                format!("{conninfo} sslcert={} sslkey={}", file("crt"), file("key"))
            },
        )
    }

    /// Issues a certificate for a user, by the command; its folder, and its serial number.
    fn issue(&self, user: &str, name: &str) -> (PathBuf, String) {
        let folder = self.gate.directory().join(name);
        fs::create_dir(&folder).unwrap();
        let said = self
            .gate
            .ca_done(&["issue", "acme", "--client", user, "--out", name]);
        let serial = said.split("serial number ").nth(1).unwrap();
        (folder, serial.lines().next().unwrap().to_owned())
    }

    /// The certificate that the staff's CA has signed; its folder.
    fn of_staff(&self) -> PathBuf {
        let folder = self.gate.directory().join("staff");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("alice.crt"), &self.staff.chain).unwrap();
        crate::auth::write_private(&folder.join("alice.key"), &self.staff.key);
        folder
    }

    /// Sessions under way by these conninfos.
    fn flights(&self, conninfos: &[String]) -> Running {
        let script = Client::python("psycopg_flights.py");
        let flights = script.args(conninfos).start();
        let copying = "select count(*) from pg_stat_activity where query like 'copy %'";
        wait_for(&self.server, copying, &(2 * conninfos.len()).to_string());
        flights
    }
}

/// What goes on while something happens to certificates.
struct Load<'s> {
    site: &'s Site,
    flights: &'s Running,
    regulars: &'s [Regular],
}

impl Load<'_> {
    /// Waits for logins, and has the sessions under way go on a little.
    #[track_caller]
    fn goes_on(&self) {
        self.regulars.iter().for_each(Regular::logs_in);
        self.flights.signal("USR1");
    }

    /// Runs a command of which clients see something, and goes on.
    #[track_caller]
    fn through(&self, arguments: &[&str]) {
        seen(&self.site.gate, || {
            self.site.gate.ca_done(arguments);
        });
        self.goes_on();
    }

    /// The leaf is due in a moment, and then the gate shows another by itself.
    #[track_caller]
    fn through_a_renewal_by_the_gate(&self) {
        let gate = &self.site.gate;
        let before = shown(gate).0;
        let due = due_in_a_moment(&gate.directory().join("certs"));
        until("a renewal by the gate itself", || {
            let now = shown(gate).0;
            now != before && now[0] != due
        });
        self.goes_on();
    }

    /// A user of whom nobody else is one has their certificate revoked.
    #[track_caller]
    fn through_a_revocation(&self, bundle: &Path) {
        let (folder, serial) = self.site.issue("bob", "of-bob");
        let conninfo = self.site.conninfo(bundle, "bob", Some(&folder));
        let bob = || Client::psql(&conninfo).args(["-c", "select 1"]);
        assert_eq!(bob().prints(), "1");
        self.site.gate.ca_done(&["revoke", "acme", &serial]);
        until("what is revoked is refused", || {
            bob().run().stderr.contains("is revoked")
        });
        self.goes_on();
    }
}

/// A whole life: the leaf is renewed by the gate and by the command, the CA rotates with a change of
/// mind, and a certificate is revoked. `folder` has what one of those shows who log in meanwhile.
fn is_not_felt(site: &Site, folder: Option<&Path>, load: &Load<'_>) {
    let [one, by_project] = load.regulars else {
        unreachable!("there are two of them")
    };
    load.goes_on();
    load.through_a_renewal_by_the_gate();
    load.through(&["rotate", "acme", "--announce"]);
    let announced = site.bundle("announced.crt");
    one.logs_in_by(site.conninfo(&announced, "alice", folder));
    let before = site.gate.directory().join(OF_ALICE);
    by_project.logs_in_by(site.conninfo(&announced, "alice", Some(&before)));
    load.goes_on();
    for step in ["--switch", "--undo", "--switch"] {
        load.through(&["rotate", "acme", step]);
    }
    load.through_a_revocation(&announced);
    // By the CA that stays: what the other has signed ends with it.
    let (after, _) = site.issue("alice", "next-of-alice");
    by_project.logs_in_by(site.conninfo(&announced, "alice", Some(&after)));
    load.goes_on();
    load.through(&["rotate", "acme", "--retire"]);
    load.through(&["renew", "acme"]);
}

/// The folder of the certificate that the project's first CA has signed.
const OF_ALICE: &str = "of-alice";

/// Goes through it with sessions under way, and with two who log in again and again: one with a
/// certificate by the project's CA, the other with one of the staff's, or with none.
fn is_not_felt_where(mode: &str, has_certificate: bool) {
    let site = Site::of(mode);
    let (first, staff) = (site.bundle("first.crt"), site.of_staff());
    let (of_alice, _) = site.issue("alice", OF_ALICE);
    let folder = Some(staff.as_path()).filter(|_| has_certificate);
    let conninfo = |folder| site.conninfo(&first, "alice", folder);
    let flights = site.flights(&[conninfo(folder), conninfo(Some(&staff))]);
    let (one, tell_of_one) = Regular::new(conninfo(folder));
    let (by_project, tell_of_other) = Regular::new(conninfo(Some(&of_alice)));
    let regulars = [one, by_project];
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _ending = Ending(&over);
        for (regular, tell) in regulars.iter().zip([tell_of_one, tell_of_other]) {
            let (conninfo, over) = (&regular.conninfo, &over);
            scope.spawn(move || keep_logging_in(conninfo, over, &tell));
        }
        let load = Load {
            site: &site,
            flights: &flights,
            regulars: &regulars,
        };
        is_not_felt(&site, folder, &load);
    });
    flights.signal("TERM");
    let ran = flights.finish();
    assert!(ran.succeeded && ran.stdout == "ok\n", "{ran}");
}

#[test]
fn rotation_renewals_and_a_revocation_under_load_drop_nothing_where_certificates_are_optional() {
    is_not_felt_where("optional", false);
}

#[test]
fn rotation_renewals_and_a_revocation_under_load_drop_nothing_where_certificates_are_required() {
    is_not_felt_where("required", true);
}
