use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::thread;

use jiff::SignedDuration;
use rcgen::KeyPair;
use tempfile::TempDir;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::*;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// A keystore in a directory that goes away with it.
struct Fixture {
    directory: TempDir,
    store: ProjectKeystore,
    now: Timestamp,
}

impl Fixture {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let keystore = Keystore::open(directory.path().join("certs")).unwrap();
        let store = keystore.project(&"acme".parse().unwrap());
        Self {
            directory,
            store,
            now: Timestamp::now(),
        }
    }

    fn load(&self) -> Result<Identity, PkiError> {
        self.store
            .load_or_create(&hosts(&["db.example.com", "127.0.0.1"]), self.now)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.store.folder.join(name)
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap()
    }

    /// What `load` says when it must fail, and that it changed nothing.
    fn refusal(&self) -> String {
        let before = snapshot(&self.store.folder);
        let error = self.load().unwrap_err().to_string();
        assert_eq!(snapshot(&self.store.folder), before);
        error
    }
}

fn hosts(texts: &[&str]) -> Vec<Host> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn snapshot(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

/// The names of what is in a folder, but for the lock.
fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".lock")
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn parsed<'a>(der: &'a CertificateDer<'_>) -> X509Certificate<'a> {
    X509Certificate::from_der(der).unwrap().1
}

#[test]
fn the_first_start_makes_a_ca_and_a_leaf_and_keeps_the_keys_from_others() {
    let fixture = Fixture::new();
    let identity = fixture.load().unwrap();
    assert_eq!(mode(&fixture.directory.path().join("certs")), 0o755);
    for (file, expected) in [
        ("ca.crt", 0o644),
        ("ca.key", 0o600),
        ("server.crt", 0o644),
        ("server.key", 0o600),
    ] {
        assert_eq!(mode(&fixture.file(file)), expected, "{file}");
    }
    assert_eq!(files(&fixture.store.folder).len(), 4);
    assert_eq!(
        identity.ca_bundle_pem().unwrap().as_bytes(),
        fixture.bytes("ca.crt")
    );
    assert_eq!(fixture.store.ca_certificate(), fixture.file("ca.crt"));
}

#[test]
fn t13_the_leaf_is_p256_with_sha256_and_is_sent_with_its_ca() {
    let fixture = Fixture::new();
    let identity = fixture.load().unwrap();
    let [leaf, ca] = identity.chain() else {
        panic!("leaf and CA expected")
    };
    assert_eq!(leaf, identity.leaf_der());
    let (leaf, ca) = (parsed(leaf), parsed(ca));
    for certificate in [&leaf, &ca] {
        // ecdsa-with-SHA256, and the curve secp256r1.
        assert_eq!(
            certificate.signature_algorithm.algorithm.to_id_string(),
            "1.2.840.10045.4.3.2"
        );
        let curve = certificate
            .public_key()
            .algorithm
            .parameters
            .as_ref()
            .unwrap();
        assert_eq!(
            curve.as_oid().unwrap().to_id_string(),
            "1.2.840.10045.3.1.7"
        );
        assert!((15..=17).contains(&certificate.raw_serial().len()));
    }
    let constraints = ca.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && constraints.value.ca);
    assert_eq!(constraints.value.path_len_constraint, Some(0));
    let usage = ca.key_usage().unwrap().unwrap().value;
    assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
    assert!(ca.subject().to_string().contains("acme"));
    assert!(!leaf.is_ca());
    assert!(
        leaf.extended_key_usage()
            .unwrap()
            .unwrap()
            .value
            .server_auth
    );
    assert_eq!(key_ids(&leaf).1, key_ids(&ca).0);
}

/// The subject key identifier and the authority key identifier.
fn key_ids(certificate: &X509Certificate<'_>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    use x509_parser::extensions::ParsedExtension as E;
    let mut ids = (None, None);
    for extension in certificate.extensions() {
        if let E::SubjectKeyIdentifier(id) = extension.parsed_extension() {
            ids.0 = Some(id.0.to_vec());
        }
        if let E::AuthorityKeyIdentifier(id) = extension.parsed_extension() {
            ids.1 = id.key_identifier.as_ref().map(|id| id.0.to_vec());
        }
    }
    assert!(ids.0.is_some());
    ids
}

#[test]
fn certificates_begin_an_hour_early_and_last_ninety_days_and_ten_years() {
    let fixture = Fixture::new();
    let identity = fixture.load().unwrap();
    let second = fixture.now.as_second();
    let validity: Vec<_> = identity
        .chain()
        .iter()
        .map(|der| parsed(der).validity().clone())
        .collect();
    assert_eq!(validity[0].not_before.timestamp(), second - 3600);
    assert_eq!(validity[0].not_after.timestamp(), second + 90 * 86400);
    assert_eq!(validity[1].not_before.timestamp(), second - 3600);
    assert_eq!(validity[1].not_after.timestamp(), second + 3653 * 86400);
    assert_eq!(identity.not_after().as_second(), second + 90 * 86400);
}

#[test]
fn a_second_start_changes_nothing() {
    let fixture = Fixture::new();
    let first = fixture.load().unwrap();
    let files = snapshot(&fixture.store.folder);
    let mut again = hosts(&["127.0.0.1", "db.example.com"]);
    for _ in 0..2 {
        let second = fixture.store.load_or_create(&again, fixture.now).unwrap();
        assert_eq!(second.chain(), first.chain());
        assert_eq!(snapshot(&fixture.store.folder), files);
        again.reverse();
    }
}

#[test]
fn changed_hosts_get_a_new_leaf_from_the_same_ca() {
    let fixture = Fixture::new();
    let first = fixture.load().unwrap();
    let (ca, key) = (fixture.bytes("ca.crt"), fixture.bytes("ca.key"));
    for changed in [
        &["db.example.com"][..],
        &["db.example.com", "::1"],
        &["*.example.com"],
    ] {
        let second = fixture
            .store
            .load_or_create(&hosts(changed), fixture.now)
            .unwrap();
        assert_ne!(second.leaf_der(), first.leaf_der());
        assert_eq!(
            Facts::read(second.leaf_der()).unwrap().hosts,
            hosts(changed)
        );
        assert_eq!(
            (fixture.bytes("ca.crt"), fixture.bytes("ca.key")),
            (ca.clone(), key.clone())
        );
    }
}

#[test]
fn a_leaf_is_renewed_when_two_thirds_of_its_life_are_over_and_not_before() {
    let mut fixture = Fixture::new();
    let first = fixture.load().unwrap();
    let renew_at = first.renew_at().unwrap();
    fixture.now = renew_at - SignedDuration::from_secs(1);
    assert_eq!(fixture.load().unwrap().leaf_der(), first.leaf_der());
    fixture.now = renew_at;
    let second = fixture.load().unwrap();
    assert_ne!(second.leaf_der(), first.leaf_der());
    assert_eq!(second.chain()[1], first.chain()[1]);
    assert!(second.renew_at().unwrap() > first.not_after());
}

#[test]
fn a_leaf_never_outlives_its_ca() {
    let mut fixture = Fixture::new();
    fixture.load().unwrap();
    fixture.now += 3650 * DAY;
    let late = fixture.load().unwrap();
    assert_eq!(
        late.not_after(),
        Facts::read(&late.chain()[1]).unwrap().not_after
    );
    fixture.now += 10 * DAY;
    let refusal = fixture.refusal();
    assert!(
        refusal.contains("ca.crt is valid from") && refusal.contains("ca rotate"),
        "{refusal}"
    );
}

#[test]
fn a_leaf_of_a_ca_that_is_almost_over_is_not_due_at_once() {
    let mut fixture = Fixture::new();
    let ca = fixture.load().unwrap().ca_not_after().unwrap();
    let mut times = 0;
    for left in [1, 30, 1_799, 1_800, 3_600, 86_400] {
        fixture.now = ca - SignedDuration::from_secs(left);
        fs::remove_file(fixture.file("server.crt")).unwrap();
        let leaf = fixture.load().unwrap();
        assert_eq!((leaf.not_after(), leaf.ca_not_after()), (ca, Some(ca)));
        let wait = fixture.now.duration_until(leaf.renew_at().unwrap());
        assert!(wait >= SignedDuration::from_mins(1), "{left}: {wait}");
        times += 1;
    }
    assert_eq!(times, 6);
}

#[test]
fn a_renewal_that_failed_is_put_off_by_a_minute_to_an_hour() {
    let leaf = Fixture::new().load().unwrap();
    let (due, end) = (leaf.renew_at().unwrap(), leaf.not_after());
    let minute = SignedDuration::from_mins(1);
    for (now, wait) in [
        (due, SignedDuration::from_hours(1)),
        (end - 100 * minute, 5 * minute),
        (end, minute),
        (end + 30 * DAY, minute),
    ] {
        let later = leaf.clone().with_renewal_put_off(now).renew_at().unwrap();
        assert_eq!(now.duration_until(later), wait);
    }
    let early = due - 30 * DAY;
    assert_eq!(leaf.with_renewal_put_off(early).renew_at(), Some(due));
}

#[test]
fn a_ca_whose_key_is_missing_is_never_replaced() {
    let fixture = Fixture::new();
    fixture.load().unwrap();
    fs::remove_file(fixture.file("ca.key")).unwrap();
    let refusal = fixture.refusal();
    assert!(
        refusal.contains("ca.key is missing") && refusal.contains("restore"),
        "{refusal}"
    );
}

#[test]
fn t34_a_ca_key_that_is_damaged_is_never_replaced_nor_quoted() {
    let fixture = Fixture::new();
    fixture.load().unwrap();
    let pem = String::from_utf8(fixture.bytes("ca.key")).unwrap();
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256)
        .unwrap()
        .serialize_pem();
    for damaged in ["", "secret", &pem[..90], &pem.replace("MIG", "M-G"), &rsa] {
        fs::write(fixture.file("ca.key"), damaged).unwrap();
        let refusal = fixture.refusal();
        assert!(
            refusal.contains("damaged") && refusal.contains("Restore"),
            "{refusal}"
        );
        assert!(
            !refusal.contains("secret") && !refusal.contains("M-G"),
            "{refusal}"
        );
    }
}

#[test]
fn the_key_of_another_ca_is_refused() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    fixture.load().unwrap();
    other.load().unwrap();
    fs::copy(other.file("ca.key"), fixture.file("ca.key")).unwrap();
    assert!(fixture.refusal().contains("the key of another certificate"));
}

#[test]
fn a_damaged_ca_certificate_is_an_error_that_says_what_to_do() {
    let fixture = Fixture::new();
    let identity = fixture.load().unwrap();
    let ca = fixture.bytes("ca.crt");
    let twice = [ca.clone(), ca].concat();
    for damaged in [
        &b""[..],
        b"\xff\xfe",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n",
        &twice,
    ] {
        fs::write(fixture.file("ca.crt"), damaged).unwrap();
        assert!(fixture.refusal().contains("ca.crt is no certificate"));
    }
    // And what it says to do works: clients that hold the old certificate still verify.
    fs::remove_file(fixture.file("ca.crt")).unwrap();
    let again = fixture.load().unwrap();
    assert_ne!(again.chain()[1], identity.chain()[1]);
    verify(&again.chain()[..1], &identity.chain()[1], fixture.now).unwrap();
    verify(&identity.chain()[..1], &again.chain()[1], fixture.now).unwrap();
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let fixture = Fixture::new();
    fixture.load().unwrap();
    for name in ["ca.key", "server.key"] {
        let key = fixture.file(name);
        fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
        let refusal = fixture.refusal();
        assert!(refusal.contains("(mode 0644)"), "{refusal}");
        assert!(
            refusal.contains(&format!("chmod 600 '{}'", key.display())),
            "{refusal}"
        );
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        fixture.load().unwrap();
    }
}

#[test]
fn a_damaged_or_mismatched_leaf_is_issued_again() {
    let fixture = Fixture::new();
    let first = fixture.load().unwrap();
    let other = Fixture::new();
    other.load().unwrap();
    let ca = fixture.bytes("ca.crt");
    for (file, contents) in [
        ("server.crt", None),
        ("server.key", None),
        ("server.crt", Some(vec![])),
        (
            "server.key",
            Some(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_vec()),
        ),
        ("server.crt", Some(other.bytes("server.crt"))),
        ("server.key", Some(other.bytes("server.key"))),
        ("server.crt", Some(ca.clone())),
    ] {
        match contents {
            Some(contents) => fs::write(fixture.file(file), contents).unwrap(),
            None => fs::remove_file(fixture.file(file)).unwrap(),
        }
        let again = fixture.load().unwrap();
        assert_ne!(again.leaf_der(), first.leaf_der());
        assert_eq!(fixture.load().unwrap().leaf_der(), again.leaf_der());
        assert_eq!(fixture.bytes("ca.crt"), ca);
    }
}

/// Every state that a crash can leave: the files are written one by one in this order, each as a
/// whole, and one may lie there unfinished.
#[test]
fn a_crash_at_any_point_leaves_what_the_next_start_can_use() {
    let whole = Fixture::new();
    let identity = whole.load().unwrap();
    let order = ["ca.key", "ca.crt", "server.key", "server.crt"];
    for written in 0..=order.len() {
        let crashed = Fixture::new();
        fs::create_dir(&crashed.store.folder).unwrap();
        for file in &order[..written] {
            fs::copy(whole.file(file), crashed.file(file)).unwrap();
        }
        fs::write(crashed.file(".unfinished-x7"), "half a key").unwrap();
        let recovered = crashed.load().unwrap();
        assert_eq!(
            files(&crashed.store.folder),
            ["ca.crt", "ca.key", "server.crt", "server.key"]
        );
        if written > 0 {
            assert_eq!(crashed.bytes("ca.key"), whole.bytes("ca.key"));
        }
        if written > 1 {
            verify(&recovered.chain()[..1], &identity.chain()[1], crashed.now).unwrap();
        }
        assert_eq!(crashed.load().unwrap().leaf_der(), recovered.leaf_der());
    }
}

#[test]
fn processes_that_start_at_once_agree_on_one_ca_and_one_leaf() {
    let fixture = Fixture::new();
    let leaves: Vec<_> = thread::scope(|scope| {
        let starts: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| fixture.load().unwrap()))
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap().leaf_der().clone())
            .collect()
    });
    assert_eq!(leaves.len(), 8);
    assert!(leaves.iter().all(|leaf| *leaf == leaves[0]));
}

#[test]
fn a_lock_on_what_others_can_open_holds_nobody_up() {
    let mut fixture = Fixture::new();
    fs::create_dir(&fixture.store.folder).unwrap();
    fixture.store.patience = Duration::ZERO;
    let mut held = vec![File::open(&fixture.store.folder).unwrap()];
    held[0].lock().unwrap();
    fixture.load().unwrap();
    for name in ["ca.crt", "server.crt"] {
        let file = File::open(fixture.file(name)).unwrap();
        file.lock().unwrap();
        held.push(file);
    }
    fixture.load().unwrap();
    fixture
        .store
        .load_or_create(&hosts(&["other.example.com"]), fixture.now)
        .unwrap();
    assert_eq!(held.len(), 3);
    assert_eq!(mode(&fixture.file(".lock")), 0o600);
}

#[test]
fn a_lock_file_that_others_could_open_is_closed_to_them() {
    let fixture = Fixture::new();
    fs::create_dir(&fixture.store.folder).unwrap();
    fs::write(fixture.file(".lock"), "").unwrap();
    fs::set_permissions(fixture.file(".lock"), Permissions::from_mode(0o666)).unwrap();
    fixture.load().unwrap();
    assert_eq!(mode(&fixture.file(".lock")), 0o600);
}

#[test]
fn what_fits_is_used_while_another_holds_the_folder_for_ever() {
    let mut fixture = Fixture::new();
    fixture.store.patience = Duration::ZERO;
    let first = fixture.load().unwrap();
    fs::write(fixture.file(".unfinished-x7"), "half a key").unwrap();
    let held = Held::wait(&fixture.store.folder, Duration::ZERO).unwrap();
    assert_eq!(fixture.load().unwrap().leaf_der(), first.leaf_der());
    // What is being written is left alone, and what was left is removed once nobody writes.
    assert!(fixture.file(".unfinished-x7").exists());
    drop(held);
    fixture.load().unwrap();
    assert!(!fixture.file(".unfinished-x7").exists());
}

#[test]
fn a_lock_that_is_never_let_go_is_an_error_that_says_who_may_hold_it() {
    let mut fixture = Fixture::new();
    fixture.load().unwrap();
    fixture.store.patience = Duration::ZERO;
    let _held = Held::wait(&fixture.store.folder, Duration::ZERO).unwrap();
    let others = hosts(&["other.example.com"]);
    let error = fixture.store.load_or_create(&others, fixture.now);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("acme/.lock has been locked") && error.contains("another gate"),
        "{error}"
    );
}

#[test]
fn nothing_is_written_where_what_is_kept_fits() {
    let fixture = Fixture::new();
    fixture.load().unwrap();
    fs::remove_file(fixture.file(".lock")).unwrap();
    fixture.load().unwrap();
    assert!(!fixture.file(".lock").exists());
}

#[test]
fn two_projects_have_nothing_in_common() {
    let fixture = Fixture::new();
    let keystore = Keystore::open(fixture.directory.path().join("certs")).unwrap();
    let ours = fixture.load().unwrap();
    let other = keystore.project(&"other".parse().unwrap());
    let theirs = other.load_or_create(ours.hosts(), fixture.now).unwrap();
    assert!(verify(&theirs.chain()[..1], &ours.chain()[1], fixture.now).is_err());
}

#[test]
fn no_hosts_no_certificate_and_no_files() {
    let fixture = Fixture::new();
    assert!(matches!(
        fixture.store.load_or_create(&[], fixture.now),
        Err(PkiError::NoHosts)
    ));
    assert!(!fixture.store.folder.exists());
}

#[test]
fn a_host_too_long_for_a_common_name_still_gets_its_leaf() {
    let fixture = Fixture::new();
    let long = format!("{}.{}.example.com", "a".repeat(60), "b".repeat(60));
    let long = hosts(&[&long]);
    let identity = fixture.store.load_or_create(&long, fixture.now).unwrap();
    assert_eq!(Facts::read(identity.leaf_der()).unwrap().hosts, long);
}

#[test]
fn a_file_in_the_directorys_place_is_an_error_that_names_it() {
    let fixture = Fixture::new();
    fs::write(fixture.directory.path().join("file"), "").unwrap();
    let error = Keystore::open(fixture.directory.path().join("file"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("/file"), "{error}");
}
