use std::path::Path;

use jiff::SignedDuration;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use super::*;
use crate::pki::{ClientCas, Keystore, ProjectKeystore};

struct Fixture {
    _directory: TempDir,
    project: ProjectKeystore,
    trust: Arc<ClientTrust>,
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

impl Fixture {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let project = project(directory.path());
        let cas = ClientCas {
            project: true,
            ..ClientCas::default()
        };
        let trust = Arc::new(ClientTrust::load(&cas, &project, now()).unwrap());
        Self {
            _directory: directory,
            project,
            trust,
        }
    }

    fn certificate(&self, name: &str) -> Vec<CertificateDer<'static>> {
        let issuer = self.project.client_issuer(now()).unwrap();
        let hour = SignedDuration::from_hours(1);
        let issued = issuer.issue(&name.parse().unwrap(), hour, now()).unwrap();
        vec![issued.certificate().clone()]
    }

    fn required(&self, naming: Naming) -> ClientCertificates {
        let trust = Arc::clone(&self.trust);
        ClientCertificates::Required(Demand { trust, naming }.into())
    }

    fn named(&self) -> ClientCertificates {
        self.required(Naming::Named(NameKind::CommonName, UserMap::default()))
    }
}

fn project(directory: &Path) -> ProjectKeystore {
    let keystore = Keystore::open(directory.to_owned()).unwrap();
    keystore.project(&"acme".parse().unwrap())
}

fn judge(
    demands: &ClientCertificates,
    chain: &[CertificateDer<'static>],
    user: &[u8],
) -> Result<Identification, CertificateResult> {
    let judged = demands.judge(Shown::of(Some(chain)), user, now());
    judged.map_err(|refused| refused.result())
}

fn result(
    demands: &ClientCertificates,
    chain: &[CertificateDer<'static>],
    user: &[u8],
) -> CertificateResult {
    judge(demands, chain, user).map_or_else(|result| result, |who| who.result())
}

#[test]
fn each_demand_is_met_by_what_it_says_and_nothing_less() {
    use CertificateResult as R;
    let (ours, others) = (Fixture::new(), Fixture::new());
    let (alice, foreign) = (ours.certificate("alice"), others.certificate("alice"));
    let optional = ClientCertificates::Optional(Arc::clone(&ours.trust));
    for (demands, none, good, bad, other) in [
        (
            ClientCertificates::Off,
            R::Absent,
            R::Absent,
            R::Absent,
            R::Absent,
        ),
        (optional, R::Absent, R::Accepted, R::UnknownCa, R::Accepted),
        (
            ours.required(Naming::Any),
            R::Missing,
            R::Accepted,
            R::UnknownCa,
            R::Accepted,
        ),
        (
            ours.named(),
            R::Missing,
            R::Accepted,
            R::UnknownCa,
            R::OtherUser,
        ),
    ] {
        assert_eq!(result(&demands, &[], b"alice"), none, "{demands:?}");
        assert_eq!(result(&demands, &alice, b"alice"), good, "{demands:?}");
        assert_eq!(result(&demands, &foreign, b"alice"), bad, "{demands:?}");
        assert_eq!(result(&demands, &alice, b"bob"), other, "{demands:?}");
    }
}

#[test]
fn only_who_is_named_by_the_certificate_is_proven_to_be_that_user() {
    let ours = Fixture::new();
    let alice = ours.certificate("alice");
    let who = judge(&ours.named(), &alice, b"alice").unwrap();
    assert_eq!(who.proven_user().map(ProvenUser::as_str), Some("alice"));
    for demands in [
        ours.required(Naming::Any),
        ClientCertificates::Optional(Arc::clone(&ours.trust)),
        ClientCertificates::Off,
    ] {
        let who = judge(&demands, &alice, b"alice").unwrap();
        assert_eq!(who.proven_user(), None, "{demands:?}");
    }
}

/// PostgreSQL cuts a name to 63 bytes, so the 64th and those after it would be nobody's to check.
#[test]
fn a_user_that_postgresql_would_cut_is_nobody_whatever_the_map_says() {
    let ours = Fixture::new();
    let mut map = UserMap::default();
    map.add("*", &["*".to_owned(), "xxx*".to_owned()]).unwrap();
    let demands = ours.required(Naming::Named(NameKind::CommonName, map));
    let name = "a".repeat(63);
    let chain = ours.certificate(&name);
    assert!(judge(&demands, &chain, name.as_bytes()).is_ok());
    let longer = format!("xxx{name}");
    let refused = judge(&demands, &chain, longer.as_bytes()).unwrap_err();
    assert_eq!(refused, CertificateResult::OtherUser);
}

#[test]
fn t27_who_came_in_is_judged_again_by_what_is_demanded_now() {
    let (ours, others) = (Fixture::new(), Fixture::new());
    let alice = judge(&ours.named(), &ours.certificate("alice"), b"alice").unwrap();
    let nobody = Identification::default();
    let again = |demands: &ClientCertificates, who| {
        let judged = demands.judge_again(who);
        judged.map_err(|refused| refused.result())
    };
    assert_eq!(again(&ours.named(), &alice), Ok(()));
    assert_eq!(again(&ClientCertificates::Off, &alice), Ok(()));
    assert_eq!(
        again(&ours.named(), &nobody),
        Err(CertificateResult::Missing)
    );
    assert_eq!(
        again(&others.named(), &alice),
        Err(CertificateResult::UnknownCa)
    );
    let mut map = UserMap::default();
    map.add("alice", &["reports".to_owned()]).unwrap();
    let mapped = ours.required(Naming::Named(NameKind::CommonName, map));
    assert_eq!(again(&mapped, &alice), Err(CertificateResult::OtherUser));
}

#[test]
fn t34_a_users_name_is_shown_printable_and_short() {
    let ours = Fixture::new();
    let user = [b"bob\n\x1b[2J\xff".as_slice(), &[b'x'; 500]].concat();
    let demands = ours.named();
    let chain = ours.certificate("alice");
    let refused = demands.judge(Shown::of(Some(&chain)), &user, now());
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("\"bob??[2J\u{fffd}x"), "{text}");
    assert!(
        !text.contains(char::is_control) && text.len() < 200,
        "{text}"
    );
}
