use rustls::pki_types::CertificateDer;

use super::*;
use crate::pki::Identity;
use crate::pki::certificate::verify;
use crate::pki::testing::{Fixture, hosts};

mod crashes;

/// A project that has its leaf.
fn with_leaf() -> Fixture {
    let fixture = Fixture::new();
    fixture.leaf();
    fixture
}

impl Fixture {
    fn leaf(&self) -> Identity {
        let hosts = hosts(&["db.example.com"]);
        self.store.load_or_create(&hosts, self.now).unwrap()
    }

    fn step(&self, step: Step) -> Stage {
        self.store.rotate(step, self.now).unwrap()
    }

    fn bundle(&self) -> Vec<CertificateDer<'static>> {
        crate::pki::files::read_chain(&self.store.ca_certificate()).unwrap()
    }

    fn is_trusted_with(&self, bundle: &[CertificateDer<'_>]) -> bool {
        let leaf = self.leaf();
        let trusts = |root: &CertificateDer<'_>| verify(&leaf.chain()[..1], root, self.now).is_ok();
        bundle.iter().any(trusts)
    }
}

#[test]
fn whoever_holds_the_announced_bundle_trusts_the_leaf_at_every_step() {
    let fixture = with_leaf();
    let first = fixture.bundle();
    assert_eq!(fixture.step(Step::Announce), Stage::Announced);
    let announced = fixture.bundle();
    assert_eq!((announced.len(), &announced[0]), (2, &first[0]));
    // Who has not been given it yet is served as before.
    assert!(fixture.is_trusted_with(&first) && fixture.is_trusted_with(&announced));

    assert_eq!(fixture.step(Step::Switch), Stage::Switched);
    assert!(!fixture.is_trusted_with(&first) && fixture.is_trusted_with(&announced));
    assert_eq!(fixture.bundle(), announced);

    assert_eq!(fixture.step(Step::Retire), Stage::Settled);
    assert!(fixture.is_trusted_with(&announced));
    assert_eq!(fixture.bundle(), announced[1..]);
    assert_eq!(
        fixture.names(),
        ["ca.crt", "ca.key", "server.crt", "server.key"]
    );
}

#[test]
fn every_step_but_the_last_can_be_taken_back_and_taken_again() {
    let fixture = with_leaf();
    let first = fixture.bundle();
    fixture.step(Step::Announce);
    assert_eq!(fixture.step(Step::Undo), Stage::Settled);
    assert_eq!(fixture.bundle(), first);

    fixture.step(Step::Announce);
    let announced = fixture.bundle();
    fixture.step(Step::Switch);
    assert_eq!(fixture.step(Step::Undo), Stage::Announced);
    assert!(fixture.is_trusted_with(&first));
    assert_eq!(
        fixture.bundle(),
        announced,
        "the same two, in the same order"
    );
    fixture.step(Step::Switch);
    assert_eq!(fixture.step(Step::Retire), Stage::Settled);
    assert_eq!(
        fixture.step(Step::Undo),
        Stage::Settled,
        "there is no way back"
    );
    assert_eq!(fixture.bundle(), announced[1..]);
}

#[test]
fn a_step_that_is_taken_already_changes_nothing() {
    let fixture = with_leaf();
    for step in [Step::Announce, Step::Switch, Step::Retire] {
        fixture.step(step);
        let (bundle, leaf) = (fixture.bundle(), fixture.leaf().leaf_der().clone());
        fixture.step(step);
        assert_eq!(fixture.bundle(), bundle);
        assert_eq!(*fixture.leaf().leaf_der(), leaf);
    }
}

#[test]
fn a_step_that_cannot_be_taken_from_here_says_which_comes_first() {
    let fixture = with_leaf();
    let refusal = |step| {
        fixture
            .store
            .rotate(step, fixture.now)
            .unwrap_err()
            .to_string()
    };
    assert!(refusal(Step::Switch).contains("--announce"));
    fixture.step(Step::Announce);
    assert!(refusal(Step::Retire).contains("--switch"));
    fixture.step(Step::Switch);
    assert!(refusal(Step::Announce).contains("--retire"));
}

#[test]
fn the_two_cas_of_a_project_have_two_names() {
    let fixture = with_leaf();
    fixture.step(Step::Announce);
    let subjects: Vec<_> = fixture
        .bundle()
        .iter()
        .map(|der| crate::pki::certificate::Facts::read(der).unwrap().subject)
        .collect();
    assert!(subjects.iter().all(|name| name.contains("acme")));
    assert_ne!(subjects[0], subjects[1]);
}

#[test]
fn certificates_of_clients_by_either_ca_are_trusted_until_the_old_one_is_retired() {
    let fixture = with_leaf();
    let old = fixture.bundle()[0].clone();
    let roots = || {
        fixture
            .store
            .client_roots(fixture.now)
            .unwrap()
            .certificates
    };
    for (step, trusted) in [
        (Step::Announce, true),
        (Step::Switch, true),
        (Step::Retire, false),
    ] {
        fixture.step(step);
        assert_eq!(roots().contains(&old), trusted, "{step:?}");
        assert_eq!(roots(), fixture.bundle());
    }
}
