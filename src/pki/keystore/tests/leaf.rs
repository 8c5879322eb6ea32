//! The leaf: when it is issued anew.

use std::fs;

use super::*;

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
fn projects_whose_leaves_are_as_old_as_each_other_are_renewed_one_by_one() {
    let fixture = Fixture::new();
    let leaf = Facts::read(fixture.load().unwrap().leaf_der()).unwrap();
    let keystore = Keystore::open(fixture.directory.path().join("certs")).unwrap();
    let due: BTreeSet<_> = (0..200)
        .map(|number| {
            let project = keystore.project(&format!("project-{number}").parse().unwrap());
            project.renew_at(&leaf)
        })
        .collect();
    // Of 256 moments: some have two projects, and hardly any three.
    assert!(due.len() > 100, "{}", due.len());
    let life = leaf.not_before.duration_until(leaf.not_after);
    let (first, last) = (*due.first().unwrap(), *due.last().unwrap());
    assert!(first.duration_until(last) > life / 20 * 9 / 10);
    let two_thirds = leaf.not_before + life / 3 * 2;
    assert!(last <= two_thirds && first >= two_thirds - life / 20);
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

#[test]
fn a_host_too_long_for_a_common_name_still_gets_its_leaf() {
    let fixture = Fixture::new();
    let long = format!("{}.{}.example.com", "a".repeat(60), "b".repeat(60));
    let long = hosts(&[&long]);
    let identity = fixture.store.load_or_create(&long, fixture.now).unwrap();
    assert_eq!(Facts::read(identity.leaf_der()).unwrap().hosts, long);
}
