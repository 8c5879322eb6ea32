//! How each managed provider's API writes an allow list down.

use clap::ValueEnum;
use serde_json::Value;

/// A managed provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Provider {
    /// GET /v2/databases/ID/firewall
    Digitalocean,
    /// GET /v1/project/NAME/service/NAME
    Aiven,
    /// GET /v1/organizations/ID/services/ID
    Clickhouse,
    /// GET /api/v2/projects/ID
    Neon,
    /// GET /v1/projects/REF/network-restrictions
    Supabase,
    /// gcloud sql instances describe NAME --format=json
    Cloudsql,
}

/// What a provider lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) entries: Vec<Entry>,
    /// What can't be carried over, each with where it stands and why.
    pub(super) skipped: Vec<String>,
}

/// One source, in the provider's words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where it stands, such as `rules[3]`.
    pub(super) at: String,
    pub(super) source: String,
    pub(super) note: Option<String>,
    pub(super) expires: Option<String>,
}

impl Provider {
    /// Reads the provider's JSON.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn read(self, json: &Value) -> Result<Listed, String> {
        match self {
            Self::Digitalocean => digitalocean(json),
            Self::Aiven => objects(
                json,
                &["/service/user_config/ip_filter", "/user_config/ip_filter"],
                &AIVEN,
            ),
            // The console exports what it calls addresses.
            Self::Clickhouse => objects(
                json,
                &["/result/ipAccessList", "/ipAccessList", "/addresses"],
                &CLICKHOUSE,
            ),
            Self::Neon => neon(json),
            Self::Supabase => supabase(json),
            Self::Cloudsql => objects(
                json,
                &["/settings/ipConfiguration/authorizedNetworks"],
                &CLOUDSQL,
            ),
        }
    }
}

/// The keys of an entry that is an object.
struct Keys {
    /// The first that is there.
    source: &'static [&'static str],
    note: &'static str,
    expires: Option<&'static str>,
}

const AIVEN: Keys = Keys {
    source: &["network"],
    note: "description",
    expires: None,
};
const CLICKHOUSE: Keys = Keys {
    source: &["source", "address"],
    note: "description",
    expires: None,
};
const CLOUDSQL: Keys = Keys {
    source: &["value"],
    note: "name",
    expires: Some("expirationTime"),
};

/// The array at the first of `pointers` (RFC 6901) that is there, and where that was.
fn array<'j>(json: &'j Value, pointers: &[&str]) -> Result<(String, &'j Vec<Value>), String> {
    let found = pointers
        .iter()
        .find_map(|pointer| Some((pointer, json.pointer(pointer)?)));
    let path = |pointer: &str| pointer.trim_start_matches('/').replace('/', ".");
    let Some((pointer, value)) = found else {
        let paths: Vec<_> = pointers.iter().map(|pointer| path(pointer)).collect();
        return Err(format!("there is no {} in it", paths.join(" or ")));
    };
    let array = value
        .as_array()
        .ok_or_else(|| format!("{} is not an array", path(pointer)))?;
    Ok((path(pointer), array))
}

/// Entries that are texts, or objects with `keys`.
fn objects(json: &Value, pointers: &[&str], keys: &Keys) -> Result<Listed, String> {
    let (path, array) = array(json, pointers)?;
    let entries = array.iter().enumerate().map(|(index, value)| {
        let at = format!("{path}[{index}]");
        if let Some(source) = value.as_str() {
            let source = source.to_owned();
            return Ok(Entry {
                at,
                source,
                note: None,
                expires: None,
            });
        }
        Ok(Entry {
            source: keys
                .source
                .iter()
                .find_map(|key| text(value, key))
                .ok_or_else(|| format!("{at} has no {}", keys.source.join(" or ")))?,
            note: text(value, keys.note),
            expires: keys.expires.and_then(|key| text(value, key)),
            at,
        })
    });
    Ok(Listed {
        entries: entries.collect::<Result<_, String>>()?,
        skipped: Vec::new(),
    })
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

/// Trusted sources: beside addresses there are Droplets, Kubernetes clusters, apps and tags, which
/// only DigitalOcean can tell the addresses of.
fn digitalocean(json: &Value) -> Result<Listed, String> {
    let (path, array) = if json.is_array() {
        array(json, &[""])?
    } else {
        array(json, &["/rules"])?
    };
    let mut listed = Listed::default();
    for (index, value) in array.iter().enumerate() {
        let at = format!("{path}[{index}]");
        let field = |key: &str| text(value, key).ok_or_else(|| format!("{at} has no {key}"));
        let (kind, source) = (field("type")?, field("value")?);
        if kind == "ip_addr" {
            let note = text(value, "description");
            listed.entries.push(Entry {
                at,
                source,
                note,
                expires: None,
            });
        } else {
            listed.skipped.push(format!(
                "{at}: {kind} {source} is not an address; add those it stands for"
            ));
        }
    }
    Ok(listed)
}

fn neon(json: &Value) -> Result<Listed, String> {
    let pointers = [
        "/project/settings/allowed_ips/ips",
        "/settings/allowed_ips/ips",
    ];
    let keys = Keys {
        source: &["ip"],
        note: "description",
        expires: None,
    };
    let mut listed = objects(json, &pointers, &keys)?;
    let pointers = ["/project/settings/allowed_ips", "/settings/allowed_ips"];
    let settings = pointers.iter().find_map(|pointer| json.pointer(pointer));
    let protected = settings.and_then(|settings| settings.get("protected_branches_only"));
    if protected.and_then(Value::as_bool) == Some(true) {
        listed
            .skipped
            .push("protected_branches_only: the rules here are for the whole project".to_owned());
    }
    Ok(listed)
}

/// A list for each family, either of which may be absent; the newer form has both in one.
fn supabase(json: &Value) -> Result<Listed, String> {
    let keys = Keys {
        source: &["address"],
        note: "description",
        expires: None,
    };
    let v4 = ["/config/dbAllowedCidrs", "/dbAllowedCidrs"];
    let v6 = ["/config/dbAllowedCidrsV6", "/dbAllowedCidrsV6"];
    let is_there = |pointers: &[&str]| pointers.iter().any(|path| json.pointer(path).is_some());
    let mut listed = if is_there(&v4) || !is_there(&v6) {
        objects(json, &v4, &keys)?
    } else {
        Listed::default()
    };
    if is_there(&v6) {
        listed.entries.extend(objects(json, &v6, &keys)?.entries);
    }
    if text(json, "status").as_deref() == Some("stored") {
        let why = "status: stored: this list was asked for there, and is not in force yet";
        listed.skipped.push(why.to_owned());
    }
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(provider: Provider, json: &str) -> Listed {
        provider.read(&serde_json::from_str(json).unwrap()).unwrap()
    }

    fn sources(listed: &Listed) -> Vec<(&str, Option<&str>)> {
        let entries = listed.entries.iter();
        entries
            .map(|entry| (entry.source.as_str(), entry.note.as_deref()))
            .collect()
    }

    #[test]
    fn digitalocean_addresses_are_read_and_everything_else_is_named_as_skipped() {
        let listed = read(
            Provider::Digitalocean,
            r#"{"rules": [
                {"uuid": "u1", "cluster_uuid": "c", "type": "k8s", "value": "ff2a6c52", "created_at": "2019-11-14T20:30:28Z"},
                {"uuid": "u2", "cluster_uuid": "c", "type": "ip_addr", "value": "192.0.2.1", "description": "office"},
                {"uuid": "u3", "cluster_uuid": "c", "type": "tag", "value": "backend"}
            ]}"#,
        );
        assert_eq!(sources(&listed), [("192.0.2.1", Some("office"))]);
        assert_eq!(listed.entries[0].at, "rules[1]");
        assert_eq!(listed.skipped.len(), 2);
        assert!(
            listed.skipped[1].starts_with("rules[2]: tag backend "),
            "{:?}",
            listed.skipped
        );
    }

    #[test]
    fn aiven_lists_texts_or_objects() {
        let json = r#"{"service": {"service_name": "pg", "user_config": {"ip_filter":
            ["192.0.2.0/24", {"network": "2001:db8::/32", "description": "v6"}]}}}"#;
        let listed = read(Provider::Aiven, json);
        assert_eq!(
            sources(&listed),
            [("192.0.2.0/24", None), ("2001:db8::/32", Some("v6"))]
        );
    }

    #[test]
    fn clickhouse_neon_supabase_and_cloud_sql_are_read_as_their_apis_return_them() {
        let clickhouse = r#"{"status": 200, "requestId": "r", "result":
            {"id": "s", "ipAccessList": [{"source": "192.0.2.1", "description": "NY"}]}}"#;
        assert_eq!(
            sources(&read(Provider::Clickhouse, clickhouse)),
            [("192.0.2.1", Some("NY"))]
        );
        let neon = r#"{"project": {"id": "p", "settings": {"allowed_ips":
            {"ips": ["192.0.2.1", "192.0.2.5-192.0.2.9"], "protected_branches_only": true}}}}"#;
        let neon = read(Provider::Neon, neon);
        assert_eq!(
            sources(&neon),
            [("192.0.2.1", None), ("192.0.2.5-192.0.2.9", None)]
        );
        assert!(neon.skipped[0].starts_with("protected_branches_only"));
        let supabase = r#"{"entitlement": "allowed", "status": "applied", "config":
            {"dbAllowedCidrs": ["192.0.2.0/24"], "dbAllowedCidrsV6": ["2001:db8::/64"]}}"#;
        let supabase = read(Provider::Supabase, supabase);
        assert_eq!(
            sources(&supabase),
            [("192.0.2.0/24", None), ("2001:db8::/64", None)]
        );
        let cloudsql = r#"{"kind": "sql#instance", "settings": {"ipConfiguration": {"authorizedNetworks": [
            {"kind": "sql#aclEntry", "value": "192.0.2.1/32", "name": "Ann", "expirationTime": "2027-01-31T18:00:00Z"}]}}}"#;
        let cloudsql = read(Provider::Cloudsql, cloudsql);
        assert_eq!(sources(&cloudsql), [("192.0.2.1/32", Some("Ann"))]);
        assert_eq!(
            cloudsql.entries[0].expires.as_deref(),
            Some("2027-01-31T18:00:00Z")
        );
    }

    #[test]
    fn the_json_of_somebody_else_is_refused_with_what_is_missing() {
        for provider in Provider::value_variants() {
            let why = provider
                .read(&serde_json::json!({"id": "unauthorized"}))
                .unwrap_err();
            assert!(why.starts_with("there is no "), "{why}");
        }
        let why = Provider::Clickhouse
            .read(&serde_json::json!({"ipAccessList": "any"}))
            .unwrap_err();
        assert_eq!(why, "ipAccessList is not an array");
    }
}
