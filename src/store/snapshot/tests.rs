use std::fs;
use std::path::Path;
use std::time::SystemTime;

use jiff::SignedDuration;
use tempfile::TempDir;

use super::*;
use crate::address::HostName;
use crate::backend::Backend;
use crate::gate::rule::Rule;
use crate::pki::{Keystore, Step};
use crate::project::{Auth, Project};

fn builder(directory: &Path, metrics: &Metrics) -> Builder {
    let keystore = Keystore::open(directory.join("certs")).unwrap();
    let certificates = Arc::new(Certificates::new(keystore, 10_000));
    Builder::new(certificates, metrics.clone())
}

fn build(directory: &Path, toml: &str) -> Result<Projects, BuildErrors> {
    let config = Config::parse(toml, &directory.join("proxy.toml")).unwrap();
    let builder = builder(directory, &Metrics::new());
    let built = build_at(Timestamp::now(), (&builder, &config), None)?;
    Ok(built.projects)
}

fn build_at(
    now: Timestamp,
    (builder, config): (&Builder, &Config),
    previous: Option<&Projects>,
) -> Result<Built, BuildErrors> {
    let mut draft = builder.draft(config, previous, config.projects.len());
    draft.maker.now = now;
    for spec in config.projects.values() {
        draft.add(spec).unwrap();
    }
    draft.finish()
}

fn project(name: &str, hosts: &str) -> String {
    format!("[project.{name}]\nhosts = [{hosts}]\nallow = [\"nowhere\"]\nbackend = \"/run/pg\"\n")
}

fn served(projects: &Projects, server_name: &str) -> Option<String> {
    let server_name: HostName = server_name.parse().unwrap();
    projects
        .by_server_name(&server_name)
        .map(|project| project.name.to_string())
}

#[test]
fn t13_an_exact_name_goes_before_a_wildcard_which_covers_one_label() {
    let directory = tempfile::tempdir().unwrap();
    let (acme, any) = ("\"acme.example.com\"", "\"*.example.com\"");
    let toml = project("acme", acme) + &project("any", any);
    let projects = build(directory.path(), &toml).unwrap();
    assert_eq!(
        served(&projects, "ACME.example.com.").as_deref(),
        Some("acme")
    );
    assert_eq!(
        served(&projects, "globex.example.com").as_deref(),
        Some("any")
    );
    assert_eq!(served(&projects, "a.b.example.com"), None);
    assert_eq!(served(&projects, "example.com"), None);
}

#[test]
fn only_a_project_that_stands_alone_or_is_named_serves_who_names_none() {
    let directory = tempfile::tempdir().unwrap();
    let default = |toml: &str| {
        let projects = build(directory.path(), toml).unwrap();
        projects
            .default_project()
            .map(|project| project.name.to_string())
    };
    let (acme, globex) = (
        project("acme", "\"a.example\""),
        project("globex", "\"g.example\""),
    );
    assert_eq!(default(&acme).as_deref(), Some("acme"));
    assert_eq!(default(&format!("{acme}{globex}")), None);
    let named = format!("default_project = \"globex\"\n{acme}{globex}");
    assert_eq!(default(&named).as_deref(), Some("globex"));
}

#[test]
fn t31_every_project_that_is_wrong_is_named_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let toml = project("acme", "\"a.example\"") + &project("globex", "\"g.example\"");
    build(directory.path(), &toml).unwrap();
    for project in ["acme", "globex"] {
        fs::write(
            directory.path().join("certs").join(project).join("ca.key"),
            "x",
        )
        .unwrap();
    }
    let errors = build(directory.path(), &toml).unwrap_err().to_string();
    assert!(
        errors.contains("project acme: ") && errors.contains("project globex: "),
        "{errors}"
    );
}

/// A gate with two projects, acme and globex, over its reloads.
struct Fixture {
    directory: TempDir,
    metrics: Metrics,
    builder: Builder,
    now: Timestamp,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let metrics = Metrics::new();
        Self {
            builder: builder(directory.path(), &metrics),
            directory,
            metrics,
            now: Timestamp::now(),
        }
    }

    /// Acme has a chain of its own, by a CA that is not in this keystore.
    fn with_own_chain(&self) -> String {
        let others = Keystore::open(self.directory.path().join("others")).unwrap();
        let acme = others.project(&"acme".parse().unwrap());
        acme.load_or_create(&["a.example".parse().unwrap()], self.now - days(1))
            .unwrap();
        project("acme", "\"a.example\"")
            + "certificate = \"others/acme/server.crt\"\nkey = \"others/acme/server.key\"\n"
            + &project("globex", "\"g.example\"")
    }

    fn with_keystore(&self) -> String {
        project("acme", "\"a.example\"") + &project("globex", "\"g.example\"")
    }

    fn build(&self, toml: &str, previous: Option<&Projects>) -> Result<Built, BuildErrors> {
        let config = Config::parse(toml, &self.directory.path().join("proxy.toml")).unwrap();
        build_at(self.now, (&self.builder, &config), previous)
    }

    fn damage(&self, file: &str) {
        fs::write(self.directory.path().join(file), "x").unwrap();
    }

    fn expiry_of_acme(&self) -> String {
        let text = self.metrics.render(SystemTime::UNIX_EPOCH);
        let series = "portcullis_certificate_expiry_seconds{project=\"acme\"} ";
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.unwrap().to_owned()
    }
}

fn leaf(projects: &Projects, name: &str) -> Vec<u8> {
    let project = projects.by_name(&name.parse().unwrap()).unwrap();
    project
        .serving
        .in_memory()
        .unwrap()
        .identity
        .leaf_der()
        .to_vec()
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

/// That `toml` is put in force with acme's certificate as it was, and that acme is warned about.
fn assert_kept(fixture: &Fixture, toml: &str, before: &Projects) -> BuildWarning {
    let toml = toml.replace("[\"nowhere\"]", "[\"192.0.2.1\"]");
    let Built { projects, warnings } = fixture.build(&toml, Some(before)).unwrap();
    assert_eq!(leaf(&projects, "acme"), leaf(before, "acme"));
    let [warning] = warnings.try_into().unwrap();
    assert_eq!(warning.project.as_str(), "acme");
    let rules = |projects: &Projects| {
        let globex = projects.by_name(&"globex".parse().unwrap()).unwrap();
        format!("{:?}", globex.allow)
    };
    assert_ne!(rules(&projects), rules(before));
    warning
}

#[test]
fn t31_a_chain_that_expired_since_keeps_no_change_from_the_other_projects() {
    let mut fixture = Fixture::new();
    let toml = fixture.with_own_chain();
    let before = fixture.build(&toml, None).unwrap().projects;
    fixture.now += days(91);
    let warning = assert_kept(&fixture, &toml, &before).to_string();
    assert!(
        warning.contains("project acme: ") && warning.contains("is valid from"),
        "{warning}"
    );
}

#[test]
fn t31_a_chain_or_key_that_can_no_longer_be_read_keeps_no_change_from_the_other_projects() {
    for file in ["others/acme/server.crt", "others/acme/server.key"] {
        let fixture = Fixture::new();
        let toml = fixture.with_own_chain();
        let before = fixture.build(&toml, None).unwrap().projects;
        fixture.damage(file);
        assert_kept(&fixture, &toml, &before);
    }
}

#[test]
fn t31_a_renewal_that_fails_keeps_no_change_from_the_others_and_is_tried_again_later() {
    let mut fixture = Fixture::new();
    let toml = fixture.with_keystore();
    let before = fixture.build(&toml, None).unwrap().projects;
    fixture.damage("certs/acme/ca.key");
    fixture.now += days(80);
    assert_kept(&fixture, &toml, &before);
    let built = fixture.build(&toml, Some(&before)).unwrap();
    let acme = built.projects.by_name(&"acme".parse().unwrap()).unwrap();
    let again = acme
        .serving
        .in_memory()
        .unwrap()
        .identity
        .renew_at()
        .unwrap();
    assert!(again > fixture.now && again <= fixture.now + SignedDuration::from_hours(1));
}

#[test]
fn t31_a_first_start_with_a_chain_that_has_expired_is_an_error() {
    let mut fixture = Fixture::new();
    let toml = fixture.with_own_chain();
    fixture.now += days(91);
    let errors = fixture.build(&toml, None).unwrap_err().to_string();
    assert!(errors.contains("project acme: "), "{errors}");
}

#[test]
fn t31_a_change_of_hosts_or_of_files_that_fails_is_an_error_and_no_metric_tells_of_it() {
    let fixture = Fixture::new();
    let own = fixture.with_own_chain();
    let before = fixture.build(&own, None).unwrap().projects;
    let expiry = fixture.expiry_of_acme();
    // In the last case acme gets another certificate before globex is found wanting.
    fixture.damage("certs/globex/ca.key");
    let others = fixture.directory.path().join("others/acme");
    for file in ["server.crt", "server.key"] {
        fs::copy(others.join(file), others.join(format!("new-{file}"))).unwrap();
    }
    fs::write(others.join("new-server.crt"), "x").unwrap();
    for changed in [
        own.replace("\"a.example\"", "\"b.example\""),
        own.replace("acme/server.", "acme/new-server."),
        fixture
            .with_keystore()
            .replace("\"g.example\"", "\"h.example\""),
    ] {
        assert_ne!(changed, own);
        fixture.build(&changed, Some(&before)).unwrap_err();
        assert_eq!(fixture.expiry_of_acme(), expiry);
    }
}

#[test]
fn a_ca_that_ends_within_ninety_days_is_warned_about() {
    let mut fixture = Fixture::new();
    let toml = fixture.with_keystore();
    let built = fixture.build(&toml, None).unwrap();
    assert_eq!(built.warnings, []);
    fixture.now += days(3653 - 89);
    let built = fixture.build(&toml, Some(&built.projects)).unwrap();
    assert_eq!(built.warnings.len(), 2);
    for warning in built.warnings {
        assert!(warning.text.contains("its CA"), "{warning}");
    }
}

#[test]
fn t31_a_backends_ca_that_can_not_be_had_again_is_the_one_from_before() {
    let fixture = Fixture::new();
    fixture.with_own_chain();
    let root = fixture.directory.path().join("root.crt");
    fs::copy(fixture.directory.path().join("others/acme/ca.crt"), &root).unwrap();
    let verified = "[project.acme]\nhosts = [\"a.example\"]\nallow = [\"::1\"]\n\
                    backend = \"postgres://db.example\"\nsslrootcert = \"root.crt\"\n";
    let before = fixture.build(verified, None).unwrap().projects;
    fs::write(&root, "x").unwrap();
    let after = fixture.build(verified, Some(&before)).unwrap();
    assert!(
        after.warnings[0].text.contains("from before"),
        "{:?}",
        after.warnings
    );
    fixture.build(verified, None).unwrap_err();
}

#[test]
fn certificates_made_for_users_outlive_a_reload_until_another_ca_signs() {
    let directory = tempfile::tempdir().unwrap();
    let builder = builder(directory.path(), &Metrics::new());
    let toml = project("acme", "\"a.example\"").replace("/run/pg", "postgres://127.0.0.1")
        + "sslmode = \"verify-full\"\nsslrootcert = \"project\"\nauth = \"certificate\"\n\
           client_certificate = \"required\"\n";
    let config = Config::parse(&toml, &directory.path().join("proxy.toml")).unwrap();
    let acme = "acme".parse().unwrap();
    let minter = |projects: &Projects| match &projects.by_name(&acme).unwrap().auth {
        Auth::Certificate(minter) => Arc::clone(minter),
        Auth::Passthrough | Auth::Scram(_) | Auth::Query(_) | Auth::Password => panic!("another"),
    };
    let build = |previous| {
        let built = build_at(Timestamp::now(), (&builder, &config), previous);
        built.unwrap().projects
    };
    let first = build(None);
    let second = build(Some(&first));
    assert!(Arc::ptr_eq(&minter(&first), &minter(&second)));
    let keystore = Keystore::open(directory.path().join("certs")).unwrap();
    for step in [Step::Announce, Step::Switch] {
        keystore
            .project(&acme)
            .rotate(step, Timestamp::now())
            .unwrap();
    }
    let third = build(Some(&second));
    assert!(!Arc::ptr_eq(&minter(&second), &minter(&third)));
}

#[test]
fn what_nobody_asked_for_is_small_and_what_is_not_changed_stays_the_same() {
    let parts = [
        size_of::<Project>(),
        size_of::<Serving>(),
        size_of::<Backend>(),
        2 * size_of::<Rule>(),
    ];
    assert!(parts.iter().sum::<usize>() <= 464, "{parts:?} bytes");
    let directory = tempfile::tempdir().unwrap();
    let builder = builder(directory.path(), &Metrics::new());
    let made = |toml: &str, previous: Option<&Projects>| {
        let config = Config::parse(toml, &directory.path().join("proxy.toml")).unwrap();
        let built = build_at(Timestamp::now(), (&builder, &config), previous);
        built.unwrap().projects
    };
    let acme = project("acme", "\"a.example\"");
    let globex = project("globex", "\"g.example\"");
    let before = made(&(acme.clone() + &globex), None);
    let changed = globex.replace("/run/pg", "/run/other") + "max_sessions = 7\n";
    let after = made(&(acme.replace("nowhere", "::1") + &changed), Some(&before));
    let backend = |of: &Projects, name: &str| {
        let project = of.by_name(&name.parse().unwrap()).unwrap();
        Arc::clone(&project.backend)
    };
    assert!(Arc::ptr_eq(
        &backend(&before, "acme"),
        &backend(&after, "acme")
    ));
    assert!(!Arc::ptr_eq(
        &backend(&before, "globex"),
        &backend(&after, "globex")
    ));
}
