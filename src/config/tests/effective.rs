//! What is shown of a configuration in force.

use toml::de::DeTable;

use super::*;
use crate::config::problem::Document;
use crate::config::reader::Reader;

#[test]
fn the_effective_configuration_reads_back_as_itself() {
    let text = format!(
        "listen = [\"[::]:0\"]\ndefault_project = \"acme\"\ndeny = [\"10.0.0.1-10.0.0.9\"]\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nproject = \"acme\"\n[tags]\n\"o-1\" = [\"::1\"]\n\
         {MINIMAL}deny = [{{ source = \"tag:o-1\", note = \"a \\\"b\\\" \\\\ c\", \
         expires = 2999-01-01T00:00:00Z, author = \"ann\", id = \"x\" }}]\n"
    );
    let config = parse(&text);
    let effective = config.effective_toml();
    let again = parse(&effective);
    assert_eq!(again.effective_toml(), effective);
    let project = |config: &Config| config.projects[&"acme".parse().unwrap()].clone();
    assert_eq!(project(&again).revision(), project(&config).revision());
    assert_eq!(again.limits, config.limits);
    assert_eq!(again.listeners.len(), 2);
}

#[test]
fn a_value_that_is_not_shown_stays_out_of_the_effective_configuration() {
    struct Secret(String);
    impl value::Value for Secret {
        fn read(item: &mut reader::Item<'_, '_>) -> Option<Self> {
            item.text("a secret").map(Self)
        }
        fn show(&self) -> String {
            value::quoted("redacted")
        }
    }
    let text = "password = \"s3cret\"";
    let table = DeTable::parse(text).unwrap();
    let mut reader = Reader::new(Document::new(Path::new("a"), text), Path::new(""));
    let secret: Option<Secret> = reader.root(&table, |root| root.optional("password"));
    assert_eq!(secret.unwrap().0, "s3cret");
    assert_eq!(reader.effective.to_string(), "password = \"redacted\"\n");
}

#[test]
fn a_quick_configuration_is_one_project_for_this_machine() {
    let spec = QuickSpec {
        backend: "postgres://127.0.0.1:5432".into(),
        allow: vec!["127.0.0.1".into()],
        certs: Some("certs".into()),
        listen: vec!["127.0.0.1:0".into()],
        ..QuickSpec::default()
    };
    let config = Config::quick(&spec).unwrap();
    let project = &config.projects[&"default".parse().unwrap()];
    let hosts: Vec<_> = project.hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["localhost", "127.0.0.1"]);
    assert_eq!(config.listeners[0].address.port(), 0);
    let bad = QuickSpec {
        allow: vec!["10.0.0.5/8".into()],
        ..spec
    };
    let shown = Config::quick(&bad).unwrap_err().to_string();
    assert!(shown.contains("--> the command line:"), "{shown}");
}
