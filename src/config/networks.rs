//! Networks as they are written: one by one, and in files.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeValue;

use super::compiled::Digester;
use super::files::read_text;
use super::problem::{Document, Problem};
use super::reader::{Item, Reader, Spot};
use super::value::{Value, quoted, show_path};
use crate::gate::network::Network;
use crate::gate::set::NetworkSet;

/// The largest file of networks that is read, in bytes: some ten million lines.
const MAX_FILE: u64 = 256 * 1024 * 1024;
/// How many bad lines of one file are shown; a file of another kind has nothing else.
const SHOWN_LINES: usize = 10;

/// Networks under one name, compiled.
pub type Networks = Arc<NetworkSet>;

/// Networks as they are written: an array of networks and files, or one file.
pub(super) struct NetworkList {
    networks: Networks,
    shown: String,
}

impl NetworkList {
    /// All networks.
    pub(super) fn into_networks(self) -> Networks {
        self.networks
    }
}

impl Value for NetworkList {
    fn read(item: &mut Item<'_, '_>) -> Option<Self> {
        let parts = match item.value {
            DeValue::Array(_) => item.elements()?,
            DeValue::Table(_) => vec![Part::read(item)?],
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {
                return item.refuse_type("an array of networks, or { file = \"networks.txt\" }");
            }
        };
        Some(Self {
            shown: parts.show(),
            networks: compile(item.reader, parts)?,
        })
    }

    fn show(&self) -> String {
        self.shown.clone()
    }
}

enum Part {
    One(Network),
    File(TextFile),
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
        TextFile::read(item, EXPECTED).map(Self::File)
    }

    fn show(&self) -> String {
        match self {
            Self::One(network) => quoted(&network.to_string()),
            Self::File(file) => format!("{{ file = {} }}", show_path(&file.path)),
        }
    }
}

/// A file of one network per line, read and not yet understood.
struct TextFile {
    path: PathBuf,
    text: String,
    /// Where it is named.
    spot: Spot,
}

impl TextFile {
    fn read(item: &mut Item<'_, '_>, expected: &str) -> Option<Self> {
        let path: PathBuf = item.table(expected, |section| {
            section.required("file", "file = \"networks.txt\"")
        })?;
        match item.reader.read_file(&path, MAX_FILE) {
            Ok(text) => Some(Self {
                path,
                text,
                spot: item.spot.clone(),
            }),
            Err(error) => item.refuse(format!("{}: {error}", path.display())),
        }
    }

    /// Its networks; none if there is anything else in it.
    fn parse(&self, reader: &mut Reader<'_>) -> Option<Vec<Network>> {
        let Self { path, text, spot } = self;
        if text.contains("-----BEGIN ") {
            // What is wrong is shown with the line it is on, and a key must not be shown (T34).
            let why = format!("{} is PEM, not a list of networks", path.display());
            reader.refuse(spot, why);
            return None;
        }
        let mut networks = Vec::new();
        let mut bad = Vec::new();
        for written in entries(text) {
            match written.parse() {
                Ok(network) => networks.push(network),
                Err(_) if written.is_empty() => {}
                Err(error) => bad.push((written, error)),
            }
        }
        if bad.is_empty() {
            return Some(networks);
        }
        let document = Document::new(path.as_path(), text);
        for (written, error) in bad.iter().take(SHOWN_LINES) {
            let start = written.as_ptr().addr() - text.as_ptr().addr();
            let span = start..start + written.len();
            let problem = Problem::at(&document, &span, &spot.key).saying(error.to_string());
            reader.problems.push(problem);
        }
        let more = bad.len().saturating_sub(SHOWN_LINES);
        if more > 0 {
            reader.refuse(
                spot,
                format!("{} has {more} more bad lines", path.display()),
            );
        }
        None
    }
}

/// Reads `{ file = "networks.txt" }`: the path, and what the file holds.
pub(super) fn read_file(item: &mut Item<'_, '_>) -> Option<(PathBuf, Networks)> {
    let file = TextFile::read(item, "a table")?;
    let path = file.path.clone();
    Some((path, compile(item.reader, vec![Part::File(file)])?))
}

/// The set that a list makes: that of the configuration before, if the list is as it was.
fn compile(reader: &mut Reader<'_>, parts: Vec<Part>) -> Option<Networks> {
    let mut digester = Digester::new();
    for part in &parts {
        match part {
            Part::One(network) => digester.network(network),
            Part::File(file) => digester.file(&file.text),
        }
    }
    let digest = digester.finish();
    if let Some(known) = reader.known_set(digest) {
        return Some(known);
    }
    let mut networks = Some(Vec::new());
    for part in parts {
        let read = match part {
            Part::One(network) => Some(vec![network]),
            Part::File(file) => file.parse(reader),
        };
        networks = networks.zip(read).map(|(all, more)| joined(all, more));
    }
    let set = Arc::new(NetworkSet::new(networks?));
    reader.compiled.insert(digest, &set);
    Some(set)
}

/// All of both; the first of millions is not copied.
fn joined(mut all: Vec<Network>, more: Vec<Network>) -> Vec<Network> {
    if all.is_empty() {
        return more;
    }
    all.extend(more);
    all
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
