//! A list in a text of TOML, changed where it stands: what isn't changed keeps its very bytes.

use std::ops::Range;

/// Where an array and its elements stand in a text, in bytes.
#[derive(Debug, Clone)]
pub(super) struct List {
    /// From `[` to behind `]`.
    pub(super) whole: Range<usize>,
    /// Each element without the white space and comments around it.
    pub(super) elements: Vec<Range<usize>>,
}

/// What becomes of an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays as it is.
    Keep,
    /// This TOML takes its place, and is about the same: what is said beside it still holds.
    Set(String),
    /// This TOML takes its place, and is about something else.
    Swap(String),
    /// It goes.
    Remove,
}

/// The text with the elements changed as `fates` says, one for each.
///
/// With the elements of a line goes the line, if they had it to themselves, and in any case the comment
/// at its end. Lines of comment right above go if they are about nothing else: if no element that stays
/// follows without something between. Whoever put an element aside behind a `#` finds it again.
pub(super) fn change(text: &str, list: &List, fates: &[Fate]) -> String {
    let rows = Row::all(text, list);
    let is_cut = |row: &Row| row.is_gone(fates) && row.is_alone(text, list);
    let mut cuts = Vec::new();
    for run in rows.chunk_by(|row, next| row.next_line(text) == next.start) {
        let is_whole = run.iter().all(is_cut);
        for (index, row) in run.iter().enumerate() {
            if is_cut(row) {
                let start = if is_whole && index == 0 {
                    start_of_comment(text, list, row.start)
                } else {
                    row.start
                };
                cuts.push((start..row.next_line(text), ""));
                continue;
            }
            cuts.extend(row.changes(text, (list, fates)));
            cuts.extend(row.comment_to_cut(text, fates).map(|range| (range, "")));
        }
    }
    cuts.extend(surplus_comma(text, list, fates));
    splice(text, &cuts)
}

/// The elements that begin on one line.
struct Row {
    /// Which they are.
    elements: Range<usize>,
    /// Where the line begins.
    start: usize,
    /// Behind the last of them, and behind its comma if that is on the line, too.
    end: usize,
    /// Whether each has its comma on the line, or none.
    is_tidy: bool,
}

impl Row {
    fn all(text: &str, list: &List) -> Vec<Self> {
        let mut rows: Vec<Self> = Vec::new();
        for (index, element) in list.elements.iter().enumerate() {
            let comma = comma_behind(text, element.end);
            let on_line = comma.filter(|comma| !text[element.end..*comma].contains('\n'));
            let end = on_line.map_or(element.end, |comma| comma + 1);
            let is_tidy = comma == on_line;
            match rows.last_mut() {
                Some(row) if !text[row.end..element.start].contains('\n') => {
                    row.elements.end = index + 1;
                    row.end = end;
                    row.is_tidy &= is_tidy;
                }
                Some(_) | None => rows.push(Self {
                    elements: index..index + 1,
                    start: line_start(text, element.start),
                    end,
                    is_tidy,
                }),
            }
        }
        rows
    }

    fn next_line(&self, text: &str) -> usize {
        next_line(text, line_end(text, self.end))
    }

    /// What stands behind its elements.
    fn tail<'t>(&self, text: &'t str) -> &'t str {
        &text[self.end..line_end(text, self.end)]
    }

    fn is_gone(&self, fates: &[Fate]) -> bool {
        fates[self.elements.clone()]
            .iter()
            .all(|fate| *fate == Fate::Remove)
    }

    /// Whether nothing but comments stands on its lines besides.
    fn is_alone(&self, text: &str, list: &List) -> bool {
        let first = list.elements[self.elements.start].start;
        let before_comment = self.tail(text).split('#').next().unwrap_or_default();
        self.is_tidy
            && self.start > list.whole.start
            && line_end(text, self.end) < list.whole.end
            && is_blank(&text[self.start..first])
            && is_blank(before_comment)
    }

    /// The changes of its elements, one by one.
    fn changes<'f>(
        &self,
        text: &str,
        (list, fates): (&List, &'f [Fate]),
    ) -> Vec<(Range<usize>, &'f str)> {
        let elements = self.elements.clone();
        let each = elements.map(|index| (&list.elements[index], &fates[index]));
        let cuts = each.flat_map(|(element, fate)| match fate {
            Fate::Keep => Vec::new(),
            Fate::Set(toml) | Fate::Swap(toml) => vec![(element.clone(), toml.as_str())],
            Fate::Remove => removal(text, element),
        });
        cuts.collect()
    }

    /// The comment at its end, if nothing that it may be about stays.
    fn comment_to_cut(&self, text: &str, fates: &[Fate]) -> Option<Range<usize>> {
        let fates = &fates[self.elements.clone()];
        let stays = |fate: &Fate| matches!(fate, Fate::Keep | Fate::Set(_));
        let comment = blanks(self.tail(text));
        let has_comment = self.tail(text)[comment..].starts_with('#');
        if !self.is_tidy || !has_comment || fates.iter().any(stays) {
            return None;
        }
        // The white space before it goes with an element that is removed.
        let is_swapped = matches!(fates.last(), Some(Fate::Swap(_)));
        let start = if is_swapped {
            self.end
        } else {
            self.end + comment
        };
        Some(start..line_end(text, self.end))
    }
}

/// Where the lines of comment right above a line of the list begin.
fn start_of_comment(text: &str, list: &List, line: usize) -> usize {
    let mut start = line;
    while let Some(above) = text[..start].strip_suffix('\n') {
        let above = line_start(text, above.len());
        let comment = text[above..start].trim().strip_prefix('#');
        let is_aside = |comment: &str| comment.trim_start().starts_with(['"', '\'', '{']);
        if above <= list.whole.start || comment.is_none_or(is_aside) {
            break;
        }
        start = above;
    }
    start
}

/// The text with elements added behind the last, laid out as the others are.
pub(super) fn append(text: &str, list: &List, added: &[String]) -> String {
    let close = list.whole.end - 1;
    let Some(last) = list.elements.last() else {
        return append_first(text, list, added);
    };
    let comma = comma_behind(text, last.end);
    let end = comma.map_or(last.end, |comma| comma + 1);
    let line_end = line_end(text, end);
    if line_end > close {
        let joined: String = added.iter().map(|toml| format!(", {toml}")).collect();
        return splice(text, &[(last.end..last.end, &joined)]);
    }
    let indent = indent_of(text, last.start, list.whole.start);
    let lines: Vec<_> = added
        .iter()
        .map(|toml| format!("{}{indent}{toml}", newline(text)))
        .collect();
    let (before, between, behind) = if comma.is_some() {
        ("", ",", ",")
    } else {
        (",", ",", "")
    };
    let joined = lines.join(between) + behind;
    splice(
        text,
        &[(last.end..last.end, before), (line_end..line_end, &joined)],
    )
}

fn append_first(text: &str, list: &List, added: &[String]) -> String {
    let close = list.whole.end - 1;
    let inner = list.whole.start + 1..close;
    if !text[inner.clone()].contains('\n') {
        return splice(text, &[(inner, &added.join(", "))]);
    }
    let start = line_start(text, close);
    let indent = &text[start..close];
    let lines: String = added
        .iter()
        .map(|toml| format!("{indent}    {toml},{}", newline(text)))
        .collect();
    splice(text, &[(start..start, &lines)])
}

/// What to cut so that an element is gone from a line that stays, and its comma.
fn removal<'c>(text: &str, element: &Range<usize>) -> Vec<(Range<usize>, &'c str)> {
    let comma = comma_behind(text, element.end);
    let end = comma.map_or(element.end, |comma| comma + 1);
    match comma {
        // What stands between an element and its comma may be a comment on something else.
        Some(comma) if !is_blank(&text[element.end..comma]) => {
            vec![(element.clone(), ""), (comma..comma + 1, "")]
        }
        Some(_) => vec![(element.start..end + blanks(&text[end..]), "")],
        None => vec![(element.clone(), "")],
    }
}

/// The comma behind the last element that stays, when those behind it went and had no comma at
/// the end: `["a", "b"]` becomes `["a"]`.
fn surplus_comma<'c>(text: &str, list: &List, fates: &[Fate]) -> Option<(Range<usize>, &'c str)> {
    let kept = fates.iter().rposition(|fate| *fate != Fate::Remove)?;
    let (kept, last) = (list.elements.get(kept)?, list.elements.last()?);
    if kept == last || comma_behind(text, last.end).is_some() {
        return None;
    }
    let comma = comma_behind(text, kept.end)?;
    let is_alone = text[comma..last.start].contains('\n');
    (!is_alone).then(|| (comma..comma + 1 + blanks(&text[comma + 1..]), ""))
}

/// The text with each range replaced; the ranges don't overlap.
fn splice(text: &str, cuts: &[(Range<usize>, &str)]) -> String {
    let mut cuts: Vec<_> = cuts.iter().collect();
    cuts.sort_by_key(|(range, _)| (range.start, range.end));
    let mut spliced = String::with_capacity(text.len());
    let mut from = 0;
    for (range, toml) in cuts {
        spliced.push_str(&text[from..range.start]);
        spliced.push_str(toml);
        from = range.end;
    }
    spliced + &text[from..]
}

/// The comma behind an element, past white space and comments.
fn comma_behind(text: &str, end: usize) -> Option<usize> {
    let mut at = end;
    loop {
        let rest = &text[at..];
        at += rest.len() - rest.trim_start().len();
        match text.as_bytes().get(at)? {
            b',' => return Some(at),
            b'#' => at = line_end(text, at),
            _ => return None,
        }
    }
}

/// White space for a line of its own beside an element: that of the element's line, or one step
/// deeper than the key's if the element stands on the key's line.
fn indent_of(text: &str, element: usize, open: usize) -> String {
    let start = line_start(text, element);
    let line = &text[start..element];
    let blank = &line[..blanks(line)];
    if start <= open {
        format!("{blank}    ")
    } else {
        blank.to_owned()
    }
}

pub(super) fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Where the line of `at` ends, before its `\n` or `\r\n`.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    let rest = text[at..].split('\n').next().unwrap_or_default();
    at + rest.strip_suffix('\r').unwrap_or(rest).len()
}

fn next_line(text: &str, line_end: usize) -> usize {
    text[line_end..]
        .find('\n')
        .map_or(text.len(), |newline| line_end + newline + 1)
}

pub(super) fn newline(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

fn is_blank(text: &str) -> bool {
    blanks(text) == text.len()
}

/// The length of the spaces and tabs at the start.
fn blanks(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\t']).len()
}

#[cfg(test)]
mod tests;
