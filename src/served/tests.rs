use std::fs;
use std::path::Path;

use jiff::SignedDuration;
use tempfile::TempDir;

use super::*;
use crate::pki::Keystore;

/// A keystore of its own, with so many certificates in memory.
struct Fixture {
    directory: TempDir,
    certificates: Arc<Certificates>,
}

impl Fixture {
    fn keeping(most: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keystore = Keystore::open(directory.path().join("certs")).unwrap();
        let certificates = Arc::new(Certificates::new(keystore, most));
        Self {
            directory,
            certificates,
        }
    }

    fn recipe(project: &str) -> Recipe {
        Recipe {
            project: project.parse().unwrap(),
            hosts: [format!("{project}.example").parse().unwrap()].into(),
            source: LeafSource::Keystore,
            policy: TlsPolicy::default(),
        }
    }

    fn serving(&self, project: &str) -> Arc<Serving> {
        Arc::new(Serving::new(Self::recipe(project), &self.certificates))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join("certs").join(name)
    }

    fn damage(&self, name: &str) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().unwrap_or_else(|| Path::new("."))).unwrap();
        fs::write(path, "x").unwrap();
    }
}

fn leaf(serving: &Serving) -> Vec<u8> {
    let served = serving.in_memory().expect("it is in memory");
    served.identity.leaf_der().to_vec()
}

#[tokio::test]
async fn nothing_is_made_before_somebody_comes_and_then_only_once() {
    let fixture = Fixture::keeping(10);
    let serving = fixture.serving("acme");
    assert!(serving.in_memory().is_none() && !fixture.file("acme").exists());
    let crowd: Vec<_> = (0..50)
        .map(|_| {
            let serving = Arc::clone(&serving);
            tokio::spawn(async move { serving.served().await.unwrap() })
        })
        .collect();
    let first = serving.served().await.unwrap();
    for one in crowd {
        assert!(Arc::ptr_eq(&one.await.unwrap(), &first));
    }
    assert_eq!(fixture.certificates.in_memory().len(), 1);
}

#[tokio::test]
async fn what_was_not_asked_for_longest_makes_room_and_comes_back_the_same() {
    let fixture = Fixture::keeping(2);
    let names = ["a", "b", "c"];
    let [a, b, c] = names.map(|name| fixture.serving(name));
    let first = a.served().await.unwrap();
    b.served().await.unwrap();
    c.served().await.unwrap();
    // Of three that all came once, the first goes.
    assert!(a.in_memory().is_none() && b.in_memory().is_some() && c.in_memory().is_some());
    // B is asked for again, C isn't.
    b.served().await.unwrap();
    let again = a.served().await.unwrap();
    assert!(b.in_memory().is_some() && c.in_memory().is_none());
    assert_eq!(again.identity.leaf_der(), first.identity.leaf_der());
    fixture.certificates.set_most(1);
    assert_eq!(fixture.certificates.in_memory().len(), 1);
}

#[tokio::test]
async fn a_project_that_is_gone_takes_no_place() {
    let fixture = Fixture::keeping(2);
    let kept = fixture.serving("kept");
    kept.served().await.unwrap();
    for name in ["gone", "gone-too"] {
        fixture.serving(name).served().await.unwrap();
    }
    assert_eq!(fixture.certificates.in_memory().len(), 1);
    assert!(kept.in_memory().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_cant_be_had_is_no_other_projects_trouble_and_is_tried_again() {
    let fixture = Fixture::keeping(10);
    let (acme, globex) = (fixture.serving("acme"), fixture.serving("globex"));
    fixture.damage("acme/ca.key");
    let error = acme.served().await.unwrap_err();
    assert!(error.to_string().contains("ca.key"), "{error}");
    globex.served().await.unwrap();
    fs::remove_file(fixture.file("acme/ca.key")).unwrap();
    // Within the second nobody tries again.
    assert_eq!(acme.served().await.unwrap_err(), error);
    tokio::time::advance(RETRY).await;
    acme.served().await.unwrap();
}

#[test]
fn a_leaf_that_is_replaced_on_the_disk_is_taken_up_at_the_next_look_and_told_once() {
    let fixture = Fixture::keeping(10);
    let now = Timestamp::now();
    let serving = fixture.serving("acme");
    serving.refresh(now, None).unwrap();
    let before = leaf(&serving);
    assert!(fixture.certificates.look(now).is_empty());
    // Somebody else renews it, as another process of ours does.
    fs::remove_file(fixture.file("acme/server.crt")).unwrap();
    assert!(
        fixture.certificates.look(now).is_empty(),
        "gone is no change"
    );
    let other = fixture
        .certificates
        .keystore()
        .project(&serving.recipe().project);
    other.load_or_create(&serving.recipe().hosts, now).unwrap();
    let looked = fixture.certificates.look(now);
    assert!(
        matches!(&*looked, [Looked { result: Ok(_), .. }]),
        "{looked:?}"
    );
    assert_ne!(leaf(&serving), before);
    assert!(fixture.certificates.look(now).is_empty());
}

#[test]
fn a_leaf_is_renewed_at_two_thirds_of_its_life_and_stays_if_that_fails() {
    let fixture = Fixture::keeping(10);
    let now = Timestamp::now();
    let serving = fixture.serving("acme");
    serving.refresh(now, None).unwrap();
    let before = leaf(&serving);
    let due = now + SignedDuration::from_hours(24 * 80);
    fixture.damage("acme/ca.key");
    let looked = fixture.certificates.look(due);
    assert!(
        matches!(&*looked, [Looked { result: Err(_), .. }]),
        "{looked:?}"
    );
    assert_eq!(leaf(&serving), before);
    assert!(fixture.certificates.look(due).is_empty(), "it is put off");
    // With another CA in its place the next look issues a leaf.
    for file in ["ca.key", "ca.crt"] {
        fs::remove_file(fixture.file("acme").join(file)).unwrap();
    }
    let later = due + SignedDuration::from_hours(2);
    let looked = fixture.certificates.look(later);
    assert!(
        matches!(&*looked, [Looked { result: Ok(_), .. }]),
        "{looked:?}"
    );
    assert_ne!(leaf(&serving), before);
}

#[test]
fn one_with_other_demands_on_tls_shows_the_leaf_from_before_if_there_is_no_other() {
    let fixture = Fixture::keeping(10);
    let now = Timestamp::now();
    let before = fixture.serving("acme");
    before.refresh(now, None).unwrap();
    fixture.damage("acme/ca.key");
    let with = |hosts: &str, min_version| {
        let recipe = Recipe {
            hosts: [hosts.parse().unwrap()].into(),
            policy: TlsPolicy {
                min_version,
                ..TlsPolicy::default()
            },
            ..Fixture::recipe("acme")
        };
        Arc::new(Serving::new(recipe, &fixture.certificates))
    };
    let stricter = with("acme.example", crate::pki::MinVersion::Tls13);
    stricter.refresh(now, Some(&before)).unwrap();
    assert!(stricter.trouble().is_some());
    let elsewhere = with("other.example", crate::pki::MinVersion::Tls12);
    elsewhere.refresh(now, Some(&before)).unwrap_err();
}
