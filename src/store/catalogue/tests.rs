use std::fs;

use tempfile::TempDir;

use super::*;
use crate::metrics::Metrics;
use crate::pki::Keystore;
use crate::project::Project;
use crate::served::Certificates;
use crate::store::snapshot::Builder;

const MAIN: &str = "include = [\"projects.d/*.toml\"]\n[tags]\noffice = [\"192.0.2.0/24\"]\n";

/// A project whose host begins with its name.
fn project(name: &str, allow: &str) -> String {
    format!(
        "[project.{name}]\nhosts = [\"{name}.example\"]\nallow = [\"{allow}\"]\nbackend = \"/run/pg\"\n"
    )
}

/// A directory with `proxy.toml` and files of projects, and what is in force of it.
struct Fixture {
    directory: TempDir,
    builder: Builder,
    catalogue: Catalogue,
    projects: Projects,
}

impl Fixture {
    /// With acme and globex in files of their own.
    fn new(main: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("projects.d")).unwrap();
        fs::write(directory.path().join("proxy.toml"), main).unwrap();
        for name in ["acme", "globex"] {
            let path = directory.path().join(format!("projects.d/{name}.toml"));
            fs::write(path, project(name, "tag:office")).unwrap();
        }
        let keystore = Keystore::open(directory.path().join("certs")).unwrap();
        let certificates = Arc::new(Certificates::new(keystore, 10));
        let builder = Builder::new(certificates, Metrics::new());
        let main = Config::load_main(&directory.path().join("proxy.toml")).unwrap();
        let made = Catalogue::load(main, &builder, None).unwrap();
        Self {
            directory,
            builder,
            catalogue: made.catalogue,
            projects: made.projects,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("projects.d").join(name)
    }

    /// Writes or removes files of projects, and puts in force what they come to.
    fn change(&mut self, files: &[(&str, Option<&str>)]) -> Updated {
        for (name, text) in files {
            match text {
                Some(text) => fs::write(self.path(name), text).unwrap(),
                None => fs::remove_file(self.path(name)).unwrap(),
            }
        }
        let changed: BTreeSet<_> = files.iter().map(|(name, _)| self.path(name)).collect();
        self.update(&changed)
    }

    fn update(&mut self, changed: &BTreeSet<PathBuf>) -> Updated {
        let updated = self
            .catalogue
            .update(changed, &self.builder, &self.projects);
        if let Some(made) = &updated.made {
            self.catalogue = made.catalogue.clone();
            self.projects = made.projects.clone();
        }
        updated
    }

    /// Puts another `proxy.toml` in force.
    fn main(&mut self, text: &str) -> Result<(), LoadError> {
        let path = self.directory.path().join("proxy.toml");
        fs::write(&path, text).unwrap();
        let known = self.catalogue.main().compiled();
        let main = Config::load_main_again(&path, known)?;
        let made = self
            .catalogue
            .with_main(main, &self.builder, &self.projects)?;
        self.catalogue = made.catalogue;
        self.projects = made.projects;
        Ok(())
    }

    fn project(&self, name: &str) -> Arc<Project> {
        Arc::clone(self.projects.by_name(&name.parse().unwrap()).unwrap())
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .projects
            .iter()
            .map(|one| one.name.to_string())
            .collect();
        names.sort_unstable();
        names
    }
}

#[test]
fn a_change_of_one_file_leaves_every_other_project_the_very_same() {
    let mut fixture = Fixture::new(MAIN);
    let (acme, globex) = (fixture.project("acme"), fixture.project("globex"));
    let updated = fixture.change(&[
        ("acme.toml", Some(&project("acme", "192.0.2.1"))),
        ("initech.toml", Some(&project("initech", "nowhere"))),
    ]);
    assert_eq!(updated.refused, []);
    assert!(!Arc::ptr_eq(&fixture.project("acme"), &acme));
    assert!(Arc::ptr_eq(&fixture.project("globex"), &globex));
    assert_eq!(fixture.names(), ["acme", "globex", "initech"]);
    fixture.change(&[("acme.toml", None), ("initech.toml", None)]);
    assert_eq!(fixture.names(), ["globex"]);
    assert!(Arc::ptr_eq(&fixture.project("globex"), &globex));
    fixture.change(&[("globex.toml", None)]);
    assert_eq!(fixture.names(), [""; 0]);
    assert!(fixture.catalogue.look().changed.is_empty());
}

#[test]
fn t31_a_file_that_is_wrong_leaves_its_own_projects_as_they_are_and_keeps_back_no_other() {
    let mut fixture = Fixture::new(MAIN);
    let (acme, globex) = (fixture.project("acme"), fixture.project("globex"));
    for bad in ["what?", "", &project("acme", "tag:nobody")] {
        let good = project("globex", "nowhere");
        let updated = fixture.change(&[("acme.toml", Some(bad)), ("globex.toml", Some(&good))]);
        let [refused] = updated.refused.try_into().unwrap();
        assert_eq!(refused.path, fixture.path("acme.toml"));
        assert!(refused.why.contains("acme.toml"), "{}", refused.why);
        assert!(Arc::ptr_eq(&fixture.project("acme"), &acme));
        assert!(!Arc::ptr_eq(&fixture.project("globex"), &globex));
    }
    let updated = fixture.change(&[("acme.toml", Some("what?"))]);
    assert!(updated.made.is_none());
}

#[test]
fn of_two_files_with_one_project_or_host_the_later_is_refused_naming_both_until_the_other_lets_go()
{
    let mut fixture = Fixture::new(MAIN);
    let acme = fixture.project("acme");
    let host = project("other", "nowhere").replace("other.example", "acme.example");
    let two = format!(
        "{}{}",
        project("second", "nowhere"),
        project("acme", "nowhere")
    );
    for text in [&host, &two] {
        let updated = fixture.change(&[("other.toml", Some(text))]);
        let [refused] = updated.refused.try_into().unwrap();
        assert!(refused.is_taken);
        for file in ["projects.d/other.toml", "projects.d/acme.toml:1"] {
            assert!(refused.why.contains(file), "{file}: {}", refused.why);
        }
        assert!(Arc::ptr_eq(&fixture.project("acme"), &acme));
        assert_eq!(fixture.names(), ["acme", "globex"]);
    }
    let third = project("third", "nowhere");
    let updated = fixture.change(&[("acme.toml", Some(&third)), ("other.toml", Some(&two))]);
    assert_eq!(updated.refused, []);
    assert_eq!(fixture.names(), ["acme", "globex", "second", "third"]);
    // A file that is put back as it was has lost what another has taken over.
    let own = format!(
        "{}{}",
        project("acme", "nowhere"),
        project("own", "nowhere")
    );
    let updated = fixture.change(&[("third.toml", Some(&own))]);
    assert!(updated.refused[0].is_taken);
    assert_eq!(fixture.names(), ["acme", "globex", "second", "third"]);
}

#[test]
fn t25_a_directory_that_is_gone_or_another_and_empty_removes_nothing() {
    let main = format!("{MAIN}{}", project("own", "nowhere"));
    let mut fixture = Fixture::new(&main);
    let directory = fixture.directory.path().join("projects.d");
    let elsewhere = fixture.directory.path().join("elsewhere");
    fs::rename(&directory, &elsewhere).unwrap();
    for is_another_there in [false, true] {
        if is_another_there {
            fs::create_dir(&directory).unwrap();
        }
        let files = ["acme.toml", "globex.toml"].map(|name| fixture.path(name));
        let updated = fixture.update(&BTreeSet::from(files));
        assert!(updated.made.is_none());
        let [problem] = updated.lost.try_into().unwrap();
        let said = problem.to_string();
        assert!(
            said.contains("projects.d: ") && said.contains("proxy.toml:"),
            "{said}"
        );
        let looked = fixture.catalogue.look();
        assert!(looked.changed.is_empty() && looked.lost.len() == 1);
        // The main file can be changed meanwhile, as long as the projects mean the same by it.
        fixture
            .main(&format!("login_timeout = \"10s\"\n{main}"))
            .unwrap();
        let other = main.replace("192.0.2.0", "198.51.100.0");
        let error = fixture.main(&other).unwrap_err().to_string();
        assert!(error.contains("projects.d: "), "{error}");
        assert_eq!(fixture.names(), ["acme", "globex", "own"]);
    }
    fs::remove_dir(&directory).unwrap();
    fs::rename(&elsewhere, &directory).unwrap();
    let looked = fixture.catalogue.look();
    assert!(looked.changed.is_empty() && looked.lost.is_empty());
    // Taken out of the configuration, they are meant to go.
    fixture.main(&project("own", "nowhere")).unwrap();
    assert_eq!(fixture.names(), ["own"]);
}

#[test]
fn a_project_that_the_configuration_names_does_not_go_with_its_file() {
    let mut fixture = Fixture::new(&format!("default_project = \"acme\"\n{MAIN}"));
    let updated = fixture.change(&[("acme.toml", None), ("globex.toml", None)]);
    let [refused] = updated.refused.try_into().unwrap();
    assert!(
        refused.why.contains("there is no project acme"),
        "{}",
        refused.why
    );
    assert_eq!(fixture.names(), ["acme"]);
    // In another file, it may.
    fixture.change(&[("moved.toml", Some(&project("acme", "nowhere")))]);
    assert_eq!(fixture.names(), ["acme"]);
    assert!(fixture.projects.default_project().is_some());
}

#[test]
fn only_a_change_of_the_main_file_that_means_something_to_projects_reads_them_again() {
    let mut fixture = Fixture::new(MAIN);
    let acme = fixture.project("acme");
    let own = format!(
        "login_timeout = \"5s\"\n{MAIN}{}",
        project("own", "nowhere")
    );
    fixture.main(&own).unwrap();
    assert!(Arc::ptr_eq(&fixture.project("acme"), &acme));
    assert_eq!(fixture.projects.common().login_timeout.as_secs(), 5);
    let taken = own.replace("own.example", "acme.example");
    let error = fixture.main(&taken).unwrap_err().to_string();
    assert!(
        error.contains("acme.toml") && error.contains("proxy.toml"),
        "{error}"
    );
    fixture
        .main(&own.replace("192.0.2.0", "198.51.100.0"))
        .unwrap();
    assert!(!Arc::ptr_eq(&fixture.project("acme"), &acme));
    fixture.main(MAIN).unwrap();
    assert_eq!(fixture.names(), ["acme", "globex"]);
}

#[test]
fn a_change_concerns_the_files_that_it_is_about_and_those_that_name_them() {
    let mut fixture = Fixture::new(MAIN);
    let concerned = |fixture: &Fixture, name: &str| {
        let paths = BTreeSet::from([fixture.path(name)]);
        fixture.catalogue.concerned(&paths)
    };
    let only = |fixture: &Fixture, name: &str| Some(BTreeSet::from([fixture.path(name)]));
    let named = project("acme", "nowhere").replace("/run/pg", "postgres://192.0.2.1")
        + "sslrootcert = \"root.crt\"\n";
    let root = fixture.directory.path().join("certs/globex/ca.crt");
    fs::copy(root, fixture.path("root.crt")).unwrap();
    let updated = fixture.change(&[("acme.toml", Some(&named))]);
    assert_eq!(updated.refused, []);
    assert_eq!(
        concerned(&fixture, "globex.toml"),
        only(&fixture, "globex.toml")
    );
    assert_eq!(concerned(&fixture, "root.crt"), only(&fixture, "acme.toml"));
    assert_eq!(concerned(&fixture, "acme.toml.lock"), Some(BTreeSet::new()));
    let directories = fixture.catalogue.directories();
    assert!(directories.contains(&fixture.directory.path().join("projects.d")));
    // What is behind a link may be everything.
    fs::create_dir(fixture.path("..data")).unwrap();
    assert_eq!(concerned(&fixture, "..data"), None);
    assert_eq!(concerned(&fixture, ""), None);
    // A look finds the same.
    assert!(fixture.catalogue.look().changed.is_empty());
    fs::remove_file(fixture.path("root.crt")).unwrap();
    assert_eq!(
        Some(fixture.catalogue.look().changed),
        only(&fixture, "acme.toml")
    );
    fixture.change(&[("acme.toml", Some(&project("acme", "nowhere")))]);
    assert_eq!(concerned(&fixture, "root.crt"), Some(BTreeSet::new()));
}

#[test]
fn files_that_name_the_same_share_the_note_of_it_until_none_is_left() {
    let mut fixture = Fixture::new(MAIN);
    let named = |name: &str| {
        project(name, "nowhere").replace("/run/pg", "postgres://192.0.2.1")
            + "sslrootcert = \"root.crt\"\n"
    };
    let root = fixture.directory.path().join("certs/globex/ca.crt");
    fs::copy(root, fixture.path("root.crt")).unwrap();
    let updated = fixture.change(&[
        ("acme.toml", Some(&named("acme"))),
        ("globex.toml", Some(&named("globex"))),
    ]);
    assert_eq!(updated.refused, []);
    let note = |fixture: &Fixture, name: &str| {
        let entry = fixture.catalogue.files.get(fixture.path(name).as_path());
        Arc::clone(&entry.unwrap().named)
    };
    let acme = note(&fixture, "acme.toml");
    assert!(Arc::ptr_eq(&acme, &note(&fixture, "globex.toml")));
    fixture.change(&[("acme.toml", None)]);
    assert_eq!(fixture.catalogue.watched.len(), 1);
    fixture.change(&[("globex.toml", None)]);
    assert!(fixture.catalogue.watched.is_empty() && fixture.catalogue.named.is_empty());
}

#[test]
fn all_that_is_wrong_with_many_files_is_told_in_the_order_of_their_names() {
    let fixture = Fixture::new(MAIN);
    let mut wrong = Vec::new();
    for number in 0..200 {
        let name = format!("tenant-{number:03}");
        let text = match number % 4 {
            0 => project(&name, "what?"),
            1 => project(&name, "nowhere").replace(&format!("{name}.example"), "acme.example"),
            2 => project(&name, "nowhere") + "auth = \"certificate\"\nallowed = 1\n",
            _ => project(&name, "nowhere"),
        };
        if number % 4 != 3 {
            wrong.push(format!("{name}.toml"));
        }
        fs::write(fixture.path(&format!("{name}.toml")), text).unwrap();
    }
    let load = || {
        let main = Config::load_main(&fixture.directory.path().join("proxy.toml")).unwrap();
        let refused = Catalogue::load(main, &fixture.builder, None).unwrap_err();
        refused.to_string()
    };
    let told = load();
    let places: Vec<_> = wrong.iter().map(|name| told.find(&**name)).collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{told}"
    );
    assert!(!told.contains("tenant-003.toml"), "{told}");
    assert_eq!(load(), told);
}
