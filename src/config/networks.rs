//! Networks as they are written: one by one, and in files.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeValue;

use super::files::read_text;
use super::problem::{Document, Problem};
use super::reader::Item;
use super::value::{Value, quoted, show_path};
use crate::gate::network::Network;

/// The largest file of networks that is read, in bytes: some ten million lines.
const MAX_FILE: u64 = 256 * 1024 * 1024;
/// How many bad lines of one file are shown; a file of another kind has nothing else.
const SHOWN_LINES: usize = 10;

/// Networks under one name.
pub type Networks = Arc<[Network]>;

/// Networks as they are written: an array of networks and files, or one file.
#[derive(Default)]
pub(super) struct NetworkList(Vec<Part>);

impl NetworkList {
    /// All networks, in the order of writing.
    pub(super) fn collect(self) -> Networks {
        let all = self.0.into_iter().flat_map(|part| match part {
            Part::One(network) => vec![network],
            Part::File { networks, .. } => networks,
        });
        all.collect()
    }
}

impl Value for NetworkList {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        match item.value {
            DeValue::Array(_) => item.elements().map(Self),
            DeValue::Table(_) => Part::read(item).map(|part| Self(vec![part])),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {
                item.refuse_type("an array of networks, or { file = \"networks.txt\" }")
            }
        }
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

enum Part {
    One(Network),
    File {
        path: PathBuf,
        networks: Vec<Network>,
    },
}

impl Value for Part {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        const EXPECTED: &str =
            "a network such as \"203.0.113.0/24\", or { file = \"networks.txt\" }";
        if let Some(text) = item.value.as_str() {
            return text
                .parse()
                .map_or_else(|error| item.refuse(error), |one| Some(Self::One(one)));
        }
        let path: PathBuf = item.table(EXPECTED, |section| {
            section.required("file", "file = \"networks.txt\"")
        })?;
        let networks = read_file(item, &path)?;
        Some(Self::File { path, networks })
    }

    fn show(&self) -> String {
        match self {
            Self::One(network) => quoted(&network.to_string()),
            Self::File { path, .. } => format!("{{ file = {} }}", show_path(path)),
        }
    }
}

/// Reads a file of one network per line.
pub(super) fn read_file(item: &mut Item<'_, '_>, path: &Path) -> Option<Vec<Network>> {
    let text = match item.reader.read_file(path, MAX_FILE) {
        Ok(text) => text,
        Err(error) => return item.refuse(format!("{}: {error}", path.display())),
    };
    if text.contains("-----BEGIN ") {
        // What is wrong is shown with the line it is on, and a key must not be shown (T34).
        return item.refuse(format!("{} is PEM, not a list of networks", path.display()));
    }
    let mut networks = Vec::new();
    let mut bad = Vec::new();
    for written in entries(&text) {
        match written.parse() {
            Ok(network) => networks.push(network),
            Err(_) if written.is_empty() => {}
            Err(error) => bad.push((written, error)),
        }
    }
    if bad.is_empty() {
        return Some(networks);
    }
    let document = Document::new(path, &text);
    for (written, error) in bad.iter().take(SHOWN_LINES) {
        let start = written.as_ptr().addr() - text.as_ptr().addr();
        let span = start..start + written.len();
        let problem = Problem::at(&document, &span, &item.spot.key).saying(error.to_string());
        item.reader.problems.push(problem);
    }
    match bad.len().saturating_sub(SHOWN_LINES) {
        0 => None,
        more => item.refuse(format!("{} has {more} more bad lines", path.display())),
    }
}

/// What a line of a file of networks says, without its comment: `#` begins one, and so does `;`, as
/// Spamhaus writes it. Blank lines say nothing.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let comment = |c| c == '#' || c == ';';
    text.lines()
        .map(move |line| line.split(comment).next().unwrap_or_default().trim())
}

/// The line of a file of networks on which the longest prefix that holds an address stands, from 1;
/// none if the file has changed and no line does any more. Reads all of it: for people who ask.
#[must_use]
pub fn line_of(path: &Path, ip: IpAddr) -> Option<usize> {
    let text = read_text(path, MAX_FILE).ok()?;
    let prefix = |entry: &str| {
        let network: Network = entry.parse().ok()?;
        let holding = network.blocks().filter(|block| block.contains(&ip));
        holding.map(|block| block.prefix_len()).max()
    };
    let lines = (1..).zip(entries(&text));
    let holding = lines.filter_map(|(line, entry)| Some((prefix(entry)?, std::cmp::Reverse(line))));
    holding.max().map(|(_, line)| line.0)
}
