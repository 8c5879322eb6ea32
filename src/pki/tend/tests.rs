use std::fs;

use tempfile::TempDir;

use super::*;
use crate::address::Host;
use crate::pki::{Identity, KeyRing, Step, scram_seed};

fn ring(first_bytes: &[u8]) -> Option<KeyRing> {
    let keys: Vec<_> = first_bytes
        .iter()
        .map(|byte| format!("{byte:02x}").repeat(32))
        .collect();
    KeyRing::parse(&keys.join("\n"), "a test").ok()
}

fn open(directory: &TempDir, first_bytes: &[u8]) -> Keystore {
    let keystore = Keystore::open(directory.path().to_owned()).unwrap();
    keystore.sealed_by(ring(first_bytes))
}

fn acme(keystore: &Keystore) -> ProjectKeystore {
    keystore.project(&"acme".parse().unwrap())
}

fn leaf(store: &ProjectKeystore) -> Result<Identity, PkiError> {
    let hosts: [Host; 1] = ["db.example.com".parse().unwrap()];
    store.load_or_create(&hosts, Timestamp::now())
}

/// The private files that hold their secret in clear.
fn plain(store: &ProjectKeystore) -> Vec<&'static str> {
    let is_plain = |file: &&str| {
        fs::read_to_string(store.file(file)).is_ok_and(|text| !text.contains("SEALED KEY"))
    };
    PRIVATE.into_iter().filter(is_plain).collect()
}

fn tend(keystore: &Keystore) -> Vec<usize> {
    let all = keystore.tend(Timestamp::now()).unwrap();
    let count = |(_, tended): (ProjectName, Result<Tended, PkiError>)| tended.unwrap().sealed;
    all.into_iter().map(count).collect()
}

#[test]
fn plain_keys_are_sealed_at_the_start_and_again_when_the_key_is_rotated() {
    let directory = TempDir::new().unwrap();
    let before = open(&directory, &[]);
    let first = leaf(&acme(&before)).unwrap();
    scram_seed(&acme(&before)).unwrap();
    acme(&before)
        .rotate(Step::Announce, Timestamp::now())
        .unwrap();
    assert_eq!(plain(&acme(&before)).len(), 4);
    assert_eq!(tend(&before), [0], "nothing to seal by");

    for ring in [&[1][..], &[2, 1]] {
        let keystore = open(&directory, ring);
        assert_eq!(tend(&keystore), [4]);
        assert_eq!(tend(&keystore), [0]);
        assert!(plain(&acme(&keystore)).is_empty());
        assert_eq!(leaf(&acme(&keystore)).unwrap().leaf_der(), first.leaf_der());
    }
    // The first key is not needed any more, and the second is.
    leaf(&acme(&open(&directory, &[2]))).unwrap();
    for other in [&[][..], &[1]] {
        let error = leaf(&acme(&open(&directory, other))).unwrap_err();
        assert!(error.to_string().contains("encryption_key_file"), "{error}");
    }
}

#[test]
fn where_keys_are_sealed_none_is_ever_written_in_clear() {
    let directory = TempDir::new().unwrap();
    let keystore = open(&directory, &[1]);
    let store = acme(&keystore);
    leaf(&store).unwrap();
    scram_seed(&store).unwrap();
    for step in [Step::Announce, Step::Switch, Step::Undo, Step::Switch] {
        store.rotate(step, Timestamp::now()).unwrap();
        leaf(&store).unwrap();
        assert!(plain(&store).is_empty(), "{step:?}");
        assert!(store.survey().unwrap().unwrap().sealed);
    }
    assert_eq!(tend(&keystore), [0]);
}

#[test]
fn servers_that_share_a_leaf_are_reminded_a_day_and_an_hour_before_its_renewal() {
    let directory = TempDir::new().unwrap();
    let store = acme(&open(&directory, &[]));
    let now = Timestamp::now();
    let renewal = leaf(&store).unwrap().renew_at().unwrap();
    let hour = SignedDuration::from_hours(1);
    let reminded = |hours: i32| {
        let at = renewal - hour * hours - hour / 2;
        store.tend(at).unwrap().shared_renewal
    };
    assert_eq!(reminded(0), None, "nobody shares it");
    let sharer = Sharer {
        host: "db1.internal".parse().unwrap(),
        directory: directory.path().to_owned(),
    };
    let hosts: [Host; 1] = ["db.example.com".parse().unwrap()];
    store.share_with(sharer.clone(), &hosts, now).unwrap();
    let renewal = store
        .load_or_create(&hosts, now)
        .unwrap()
        .renew_at()
        .unwrap();
    let hours: Vec<i32> = (-3..72)
        .filter(|hours| {
            let at = renewal - hour * *hours - hour / 2;
            let reminder = store.tend(at).unwrap().shared_renewal;
            reminder.is_some_and(|told| told.at == renewal && told.sharers == [sharer.clone()])
        })
        .collect();
    assert_eq!(hours, [0, 1, 23, 24]);
}
