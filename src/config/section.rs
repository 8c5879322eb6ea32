//! A table, read key by key.

use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::reader::{Item, Reader, Spot};
use super::value::Value;

/// A table being read. Whatever it holds that was not asked for is an error.
pub(super) struct Section<'r, 't> {
    pub(super) reader: &'r mut Reader<'t>,
    pub(super) spot: Spot,
    table: Option<&'r DeTable<'t>>,
    asked: Vec<String>,
    /// Where effective values are recorded, if not with the value that this table is.
    record: Option<usize>,
}

impl<'r, 't> Section<'r, 't> {
    pub(super) const fn new(
        reader: &'r mut Reader<'t>,
        table: Option<&'r DeTable<'t>>,
        spot: Spot,
        record: Option<usize>,
    ) -> Self {
        Self {
            reader,
            spot,
            table,
            asked: Vec::new(),
            record,
        }
    }

    /// Reads the table by `read`, then refuses the keys that were not asked for.
    pub(super) fn read<T>(mut self, read: impl FnOnce(&mut Section<'_, 't>) -> T) -> T {
        let result = read(&mut self);
        self.refuse_unknown();
        result
    }
}

impl<'t> Section<'_, 't> {
    /// Reads a key that may be missing and then means nothing.
    pub(super) fn optional<T: Value>(&mut self, name: &str) -> Option<T> {
        let value = self.take::<T>(name)?;
        self.record(name, &value);
        Some(value)
    }

    /// Reads a key that must be there.
    pub(super) fn required<T: Value>(&mut self, name: &str, help: &str) -> Option<T> {
        if !self.has(name) {
            self.ask(name);
            let message = format!("the key \"{name}\" is missing");
            self.reader.refuse_with(&self.spot, message, help);
            return None;
        }
        self.optional(name)
    }

    /// Reads a key that has a default.
    pub(super) fn or<T: Value>(&mut self, name: &str, default: T) -> T {
        let value = self.take(name).unwrap_or(default);
        self.record(name, &value);
        value
    }

    /// Reads a key that has a default and bounds.
    pub(super) fn or_within<T: Value + PartialOrd>(
        &mut self,
        name: &str,
        default: T,
        range: &RangeInclusive<T>,
    ) -> T {
        let value = self.or(name, default);
        if !range.contains(&value) {
            let (low, high) = (range.start().show(), range.end().show());
            let message = format!("{} is not within {low} to {high}", value.show());
            let spot = self.child(name);
            self.reader.refuse(&spot, message);
        }
        value
    }

    /// Reads the table `[name]`, which is empty if it is missing.
    pub(super) fn table<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Section<'_, 't>) -> T,
    ) -> T {
        self.ask(name);
        let spot = self.child(name);
        let table = self.table.and_then(|table| table.get(name));
        let table = table.and_then(|value| self.expect_table(&spot, value.get_ref()));
        let record = self.reader.effective.open(format!("[{}]", spot.key));
        Section::new(self.reader, table, spot, Some(record)).read(read)
    }

    /// Reads each `[name.KEY]`; `read` is told the KEY.
    pub(super) fn each_named<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(&str, &mut Section<'_, 't>) -> T,
    ) -> Vec<T> {
        self.ask(name);
        let spot = self.child(name);
        let Some(named) = self.table.and_then(|table| table.get(name)) else {
            return Vec::new();
        };
        let Some(named) = self.expect_table(&spot, named.get_ref()) else {
            return Vec::new();
        };
        self.reader.asked.insert(format!("{}.*", spot.pattern));
        let mut all = Vec::with_capacity(named.len());
        for (key, value) in named {
            let name = key.get_ref().as_ref();
            let spot = spot.child(name, "*", key.span());
            let Some(table) = self.expect_table(&spot, value.get_ref()) else {
                continue;
            };
            let record = Some(self.reader.effective.open(format!("[{}]", spot.key)));
            let read = |section: &mut Section<'_, 't>| read(name, section);
            all.push(Section::new(self.reader, Some(table), spot, record).read(read));
        }
        all
    }

    /// Reads each `[[name]]`.
    pub(super) fn each_table<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(&mut Section<'_, 't>) -> T,
    ) -> Vec<T> {
        self.ask(name);
        let spot = self.child(name);
        let Some(value) = self.table.and_then(|table| table.get(name)) else {
            return Vec::new();
        };
        let DeValue::Array(tables) = value.get_ref() else {
            self.reader.refuse(
                &spot,
                format!("expected tables, each headed [[{}]]", spot.key),
            );
            return Vec::new();
        };
        let mut all = Vec::with_capacity(tables.len());
        for (index, value) in tables.iter().enumerate() {
            let header = format!("[[{}]]", spot.key);
            let spot = spot.element(index, value.span());
            let Some(table) = self.expect_table(&spot, value.get_ref()) else {
                continue;
            };
            let record = Some(self.reader.effective.open(header));
            all.push(Section::new(self.reader, Some(table), spot, record).read(&mut read));
        }
        all
    }

    /// Reads each `KEY = value` of a table whose keys are the user's own.
    pub(super) fn each_value<T: Value>(&mut self) -> Vec<(String, Spot, T)> {
        let mut all = Vec::new();
        self.reader.asked.insert(format!("{}.*", self.spot.pattern));
        for (key, value) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            self.asked.push(name.to_owned());
            let spot = self.spot.child(name, "*", value.span());
            let mut item = Item {
                reader: self.reader,
                value: value.get_ref(),
                spot: spot.clone(),
            };
            let Some(read) = T::read(&mut item) else {
                continue;
            };
            self.record(name, &read);
            all.push((
                name.to_owned(),
                Spot {
                    span: key.span(),
                    ..spot
                },
                read,
            ));
        }
        all
    }

    /// Whether the key is written.
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(name))
    }

    /// The spot of a key's value, or of the table if the key is not written.
    pub(super) fn child(&self, name: &str) -> Spot {
        let span = self
            .table
            .and_then(|table| table.get(name))
            .map(Spanned::span);
        self.spot
            .child(name, name, span.unwrap_or_else(|| self.spot.span.clone()))
    }

    /// The spot of one element of an array that a key is set to.
    pub(super) fn element(&self, name: &str, index: usize) -> Spot {
        let spot = self.child(name);
        let value = self.table.and_then(|table| table.get(name));
        let element = value.and_then(|value| value.get_ref().get(index));
        let span = element.map_or_else(|| spot.span.clone(), Spanned::span);
        spot.element(index, span)
    }

    fn ask(&mut self, name: &str) {
        self.asked.push(name.to_owned());
        if self.reader.is_recording {
            let spot = self.child(name);
            self.reader.asked.insert(spot.pattern);
        }
    }

    fn take<T: Value>(&mut self, name: &str) -> Option<T> {
        self.ask(name);
        // Few of the keys that there are are written: a spot is made for those only.
        let value = self.table.and_then(|table| table.get(name))?;
        let spot = self.spot.child(name, name, value.span());
        T::read(&mut Item {
            reader: self.reader,
            value: value.get_ref(),
            spot,
        })
    }

    fn record<T: Value>(&mut self, name: &str, value: &T) {
        if let Some(section) = self.record.filter(|_| self.reader.is_recording) {
            self.reader.effective.record(section, name, value.show());
        }
    }

    fn expect_table<'v>(&mut self, spot: &Spot, value: &'v DeValue<'t>) -> Option<&'v DeTable<'t>> {
        let mut item = Item {
            reader: self.reader,
            value,
            spot: spot.clone(),
        };
        match value {
            DeValue::Table(table) => Some(table),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_) => item.refuse_type("a table"),
        }
    }

    fn refuse_unknown(&mut self) {
        for (key, _) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if self.asked.iter().any(|asked| asked == name) {
                continue;
            }
            let spot = self.spot.child(name, name, key.span());
            let problem = self.reader.problem(&spot).saying("there is no such key");
            let problem = match nearest(name, &self.asked) {
                Some(near) => problem.with_help(format!("did you mean \"{near}\"?")),
                None => problem.with_help(format!("known here: {}", self.asked.join(", "))),
            };
            self.reader.problems.push(problem);
        }
    }
}

/// The candidate that differs from a name by the fewest edits, if that looks like a slip.
pub(super) fn nearest<'c>(name: &str, candidates: &'c [String]) -> Option<&'c str> {
    let near = candidates
        .iter()
        .map(|candidate| (edits(name, candidate), candidate));
    let (distance, candidate) = near.min()?;
    (distance <= 1 + name.chars().count() / 4).then_some(candidate)
}

/// The number of characters to insert, delete or replace that makes one text of another
/// (Levenshtein's distance).
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (above, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], above + 1);
        for (left, b) in to.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[left + 1];
            row[left + 1] = replaced.min(diagonal + 1).min(row[left] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}
