//! What an edit makes of a list of rules, and the list rewritten so in its text.

use toml_edit::{Document, Item, Key, TableLike, Value};

use super::edit::{Edit, Owner};
use super::list::{self, Fate, List};
use crate::config::show_rule;
use crate::gate::rule::{Rule, Source, Verdict};

/// A list of one verdict with what becomes of it.
pub(super) struct NewList<'r> {
    /// Each rule that is there, with the one in its place: the same, another, or none.
    slots: Vec<(&'r Rule, Option<Rule>)>,
    added: Vec<Rule>,
}

impl<'r> NewList<'r> {
    pub(super) fn of(rules: &[&'r Rule], verdict: Verdict, edit: Edit<'_>) -> Self {
        let slots = rules
            .iter()
            .map(|rule| (*rule, Some((*rule).clone())))
            .collect();
        let mut list = Self {
            slots,
            added: Vec::new(),
        };
        match edit {
            Edit::Add(added) => list.add(added.iter().filter(|rule| rule.verdict == verdict)),
            Edit::Remove(selectors) => {
                list.retain(|rule| !selectors.iter().any(|selector| selector.selects(rule)));
            }
            Edit::Replace(of, wanted) if of == verdict => {
                list.retain(|rule| wanted.iter().any(|wanted| is_same(wanted, rule)));
                list.add(wanted.iter());
            }
            Edit::Replace(..) => {}
        }
        if verdict == Verdict::Allow {
            list.keep_closed();
        }
        list
    }

    /// The rules as they will be read.
    pub(super) fn into_rules(self) -> impl Iterator<Item = Rule> {
        self.slots
            .into_iter()
            .filter_map(|(_, rule)| rule)
            .chain(self.added)
    }

    /// The text with the list in its new state; none if the list's form can't be rewritten.
    pub(super) fn write(&self, text: &str, owner: Owner<'_>, verdict: Verdict) -> Option<String> {
        let name = verdict.to_string();
        let mut text = text.to_owned();
        if !has_key(&text, owner, &name)? {
            if self.added.is_empty() {
                return Some(text);
            }
            text = match owner {
                Owner::Process => insert_at_top(&text, &name)?,
                Owner::Project(_) => insert_behind_allow(&text, owner, &name)?,
            };
        } else if self.is_as_it_was() {
            // Whatever its form, if it can be read.
            return Some(text);
        }
        let (list, is_rule) = find_list(&text, owner, &name)?;
        text = list::change(&text, &list, &self.fates(&is_rule)?);
        if self.added.is_empty() {
            return Some(text);
        }
        let (list, _) = find_list(&text, owner, &name)?;
        Some(list::append(
            &text,
            &list,
            &self.added.iter().map(show_rule).collect::<Vec<_>>(),
        ))
    }

    fn is_as_it_was(&self) -> bool {
        let is_kept = |(rule, slot): &(&Rule, Option<Rule>)| slot.as_ref() == Some(rule);
        self.added.is_empty() && self.slots.iter().all(is_kept)
    }

    /// What becomes of each element, of which those that are no rule stay; none if these are other rules.
    fn fates(&self, is_rule: &[bool]) -> Option<Vec<Fate>> {
        let mut slots = self.slots.iter();
        let mut next = || slots.next().map(|(rule, slot)| fate(rule, slot.as_ref()));
        let elements = is_rule.iter();
        let fates = elements.map(|is_rule| if *is_rule { next() } else { Some(Fate::Keep) });
        let fates = fates.collect::<Option<_>>()?;
        slots.next().is_none().then_some(fates)
    }

    fn add<'a>(&mut self, rules: impl Iterator<Item = &'a Rule>) {
        for rule in rules {
            let there = || self.slots.iter().filter_map(|(_, slot)| slot.as_ref());
            let position = |same: &dyn Fn(&Rule) -> bool| there().chain(&self.added).position(same);
            let twin = position(&|other| other.id == rule.id)
                .or_else(|| position(&|other| other.source == rule.source));
            let slots = self.slots.iter_mut().filter_map(|(_, slot)| slot.as_mut());
            match twin.and_then(|twin| slots.chain(&mut self.added).nth(twin)) {
                Some(slot) => rule.clone_into(slot),
                None => self.added.push(rule.clone()),
            }
        }
    }

    fn retain(&mut self, keep: impl Fn(&Rule) -> bool) {
        for (_, slot) in &mut self.slots {
            *slot = slot.take().filter(|rule| keep(rule));
        }
    }

    /// `nowhere` gives way to any other rule, and takes the place of the last (T25).
    fn keep_closed(&mut self) {
        let mut left = self
            .slots
            .iter()
            .filter_map(|(_, slot)| slot.as_ref())
            .chain(&self.added);
        if left.any(|rule| rule.source != Source::Nowhere) {
            let mut added = std::mem::take(&mut self.added).into_iter();
            for (_, slot) in &mut self.slots {
                if slot
                    .as_ref()
                    .is_some_and(|rule| rule.source == Source::Nowhere)
                {
                    *slot = added.next();
                }
            }
            self.added = added.collect();
        } else if self.slots.iter().all(|(_, slot)| slot.is_none())
            && let Some((_, first)) = self.slots.first_mut()
        {
            *first = Some(Rule::new(Verdict::Allow, Source::Nowhere));
            self.added.clear();
        }
    }
}

/// Whether a rule is meant to be the other one, whatever its note.
fn is_same(rule: &Rule, other: &Rule) -> bool {
    rule.id == other.id || rule.source == other.source
}

fn fate(rule: &Rule, slot: Option<&Rule>) -> Fate {
    match slot {
        Some(same) if same == rule => Fate::Keep,
        Some(other) if is_same(other, rule) => Fate::Set(show_rule(other)),
        Some(other) => Fate::Swap(show_rule(other)),
        None => Fate::Remove,
    }
}

/// Calls `read` with the table in which a list stands, and with whether that is an inline table.
fn with_table<T>(
    text: &str,
    owner: Owner<'_>,
    read: impl FnOnce(&dyn TableLike, bool) -> Option<T>,
) -> Option<T> {
    let document = Document::parse(text).ok()?;
    match owner {
        Owner::Process => read(document.as_table(), false),
        Owner::Project(name) => {
            let projects = document.get("project")?.as_table_like()?;
            let table = projects.get(name.as_str())?;
            read(table.as_table_like()?, table.is_inline_table())
        }
    }
}

fn has_key(text: &str, owner: Owner<'_>, name: &str) -> Option<bool> {
    with_table(text, owner, |table, _| Some(table.contains_key(name)))
}

/// A list, and which of its elements are rules: the others name files.
fn find_list(text: &str, owner: Owner<'_>, name: &str) -> Option<(List, Vec<bool>)> {
    with_table(text, owner, |table, _| {
        let array = table.get(name)?.as_array()?;
        let elements = array.iter().map(Value::span).collect::<Option<_>>()?;
        let names_file = |value: &Value| {
            let table = value.as_inline_table();
            table.is_some_and(|table| table.contains_key("file"))
        };
        let list = List {
            whole: array.span()?,
            elements,
        };
        Some((list, array.iter().map(|value| !names_file(value)).collect()))
    })
}

/// The text with an empty list under the key `name` of no table: behind the last such key, or first of all.
fn insert_at_top(text: &str, name: &str) -> Option<String> {
    let newline = list::newline(text);
    let end = with_table(text, Owner::Process, |table, _| {
        let values = table.iter().filter(|(_, item)| item.is_value());
        let ends = values.filter_map(|(_, item)| Some(item.span()?.end));
        Some(ends.max())
    })?;
    Some(match end {
        None => format!("{name} = []{newline}{newline}{text}"),
        Some(end) => {
            let (before, behind) = text.split_at(list::line_end(text, end));
            format!("{before}{newline}{name} = []{behind}")
        }
    })
}

/// The text with an empty list under the key `name`, written as `allow` is and right behind it.
fn insert_behind_allow(text: &str, owner: Owner<'_>, name: &str) -> Option<String> {
    with_table(text, owner, |table, is_inline| {
        let (key, value) = table.get_key_value("allow")?;
        let (start, end) = (Key::span(key)?.start, Item::span(value)?.end);
        let at = if is_inline {
            end
        } else {
            list::line_end(text, end)
        };
        let inserted = if is_inline {
            format!(", {name} = []")
        } else {
            // Also `project.acme.` of a dotted key.
            let before = &text[list::line_start(text, start)..start];
            format!("{}{before}{name} = []", list::newline(text))
        };
        Some(format!("{}{inserted}{}", &text[..at], &text[at..]))
    })
}
