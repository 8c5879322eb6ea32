use tempfile::TempDir;

use super::*;

/// A directory with these files; `projects.d` is there.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("projects.d")).unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn load(directory: &TempDir) -> Result<Config, ConfigErrors> {
    Config::load(&directory.path().join("proxy.toml"))
}

fn errors(files: &[(&str, &str)]) -> String {
    load(&directory(files)).unwrap_err().to_string()
}

fn project(name: &str, host: &str) -> String {
    format!(
        "[project.{name}]\nhosts = [\"{host}\"]\nallow = [\"tag:office\"]\n\
         backend = \"postgres://127.0.0.1\"\n"
    )
}

const MAIN: &str = "include = [\"projects.d/*.toml\"]\n[tags]\noffice = [\"192.0.2.0/24\"]\n";

#[test]
fn projects_come_from_the_files_that_are_included_and_from_no_others() {
    let (acme, globex) = (project("acme", "a.example"), project("globex", "g.example"));
    let both = format!("{globex}{}", project("initech", "i.example"));
    let main = format!(
        "default_project = \"globex\"\n{MAIN}{}",
        project("own", "own.example")
    );
    let directory = directory(&[
        ("proxy.toml", &main),
        ("projects.d/acme.toml", &acme),
        ("projects.d/both.toml", &both),
        ("projects.d/.acme.toml", "what an editor left"),
        ("projects.d/acme.toml.lock", "a lock"),
        ("projects.d/README", "words"),
    ]);
    let config = load(&directory).unwrap_or_else(|errors| panic!("{errors}"));
    let names: Vec<_> = config.projects.keys().map(ProjectName::as_str).collect();
    assert_eq!(names, ["acme", "globex", "initech", "own"]);
    let again = Config::parse(&config.effective_toml(), Path::new("proxy.toml")).unwrap();
    assert_eq!(again.projects.len(), 4);
    // For one project no other file is read.
    fs::write(directory.path().join("projects.d/both.toml"), "what?").unwrap();
    let path = directory.path().join("proxy.toml");
    let config = Config::load_for(&path, &"acme".parse().unwrap()).unwrap();
    assert_eq!(config.projects.len(), 2);
    load(&directory).unwrap_err();
}

#[test]
fn a_path_in_an_included_file_starts_at_its_own_directory() {
    let text = project("acme", "a.example").replace("127.0.0.1", "10.0.0.1")
        + "sslmode = \"verify-full\"\nsslrootcert = \"ca.crt\"\n";
    let files = [
        ("proxy.toml", MAIN),
        ("projects.d/acme.toml", &text),
        ("projects.d/ca.crt", "x"),
    ];
    let directory = directory(&files);
    let config = load(&directory).unwrap_or_else(|errors| panic!("{errors}"));
    let is_there = |name: &str| config.files.iter().any(|file| file.path().ends_with(name));
    for watched in ["projects.d/ca.crt", "projects.d/acme.toml", "projects.d"] {
        assert!(is_there(watched), "{watched}");
    }
}

#[test]
fn what_is_wrong_in_all_included_files_is_told_at_once_with_file_and_line() {
    let bad_key = format!("{}on_revok = \"cut\"\n", project("acme", "a.example"));
    let text = errors(&[
        ("proxy.toml", MAIN),
        ("projects.d/acme.toml", &bad_key),
        (
            "projects.d/globex.toml",
            &project("globex", "g.example").replace("office", "offise"),
        ),
        ("projects.d/limits.toml", "[limits]\nsessions = 1\n"),
        ("projects.d/torn.toml", "[project.torn"),
    ]);
    for told in [
        "projects.d/acme.toml:5",
        "did you mean \"on_revoke\"?",
        "projects.d/globex.toml:3",
        "projects.d/limits.toml:1",
        "projects.d/torn.toml:1",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
}

#[test]
fn two_files_with_the_same_project_or_host_are_an_error_that_names_both() {
    let (first, second) = ("projects.d/a.toml", "projects.d/b.toml");
    let acme = project("acme", "a.example");
    for other in [project("acme", "b.example"), project("globex", "a.example")] {
        let text = errors(&[("proxy.toml", MAIN), (first, &acme), (second, &other)]);
        assert!(text.contains(first) && text.contains(second), "{text}");
    }
    let main = format!("{MAIN}{acme}");
    let text = errors(&[("proxy.toml", &main), (first, &acme)]);
    assert!(
        text.contains(first) && text.contains("proxy.toml:4"),
        "{text}"
    );
}

#[test]
fn t25_a_directory_that_is_not_there_or_empty_is_an_error() {
    let (nowhere, one) = (
        MAIN.replace("projects.d", "other.d"),
        MAIN.replace('*', "acme"),
    );
    for (main, why) in [
        (MAIN, "no project is defined"),
        (&nowhere, "other.d: "),
        (&one, "projects.d: "),
    ] {
        let text = errors(&[("proxy.toml", main)]);
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn t25_an_included_file_that_was_emptied_is_an_error_and_removes_nothing() {
    let acme = project("acme", "a.example");
    for empty in ["", "# to be written\n"] {
        let text = errors(&[
            ("proxy.toml", MAIN),
            ("projects.d/acme.toml", &acme),
            ("projects.d/globex.toml", empty),
        ]);
        assert!(
            text.contains("globex.toml: no project is defined in it"),
            "{text}"
        );
    }
}

#[test]
fn what_is_no_regular_file_is_not_waited_for() {
    let acme = project("acme", "a.example");
    let directory = directory(&[("proxy.toml", MAIN), ("projects.d/acme.toml", &acme)]);
    fs::create_dir(directory.path().join("projects.d/pipe.toml")).unwrap();
    let error = load(&directory).unwrap_err().to_string();
    assert!(
        error.contains("pipe.toml: it is not a regular file"),
        "{error}"
    );
}

#[test]
fn a_pattern_that_could_match_more_than_meant_is_refused() {
    for bad in ["*/acme.toml", "projects.d/*", "projects.d/*.*.toml", "/"] {
        let text = errors(&[("proxy.toml", &MAIN.replace("projects.d/*.toml", bad))]);
        assert!(text.contains("include[0]"), "{bad}: {text}");
    }
}

#[test]
fn a_default_project_that_no_file_defines_is_an_error() {
    let main = format!("default_project = \"acmee\"\n{MAIN}");
    let acme = project("acme", "a.example");
    let text = errors(&[("proxy.toml", &main), ("projects.d/acme.toml", &acme)]);
    assert!(text.contains("there is no project acmee"), "{text}");
}

#[test]
fn what_is_read_to_be_used_is_what_is_read_to_be_shown() {
    let directory = directory(&[
        ("proxy.toml", MAIN),
        ("projects.d/acme.toml", &project("acme", "a.example")),
        (
            "projects.d/wrong.toml",
            "[project.wrong]\nallowed = 1\nhosts = [7]\n",
        ),
    ]);
    let main = Config::load_main(&directory.path().join("proxy.toml")).unwrap();
    let read = |name: &str| {
        let path = directory.path().join("projects.d").join(name);
        let both = [false, true].map(|is_recording| main.read_file(&path, is_recording));
        both.map(|read| match read {
            Ok(included) => format!("{:?}", (included.projects, included.warnings)),
            Err(errors) => errors.to_string(),
        })
    };
    for name in ["acme.toml", "wrong.toml"] {
        let [used, shown] = read(name);
        assert_eq!(used, shown);
    }
    assert!(read("wrong.toml")[0].contains("did you mean \"allow\"?"));
}
