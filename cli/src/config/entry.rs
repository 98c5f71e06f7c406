//! A member of a source file, read by name: what is missing, of another type or unknown is said with its place.

use std::time::Duration;

use policy::duration::Span;

use super::problems::{Place, Problems};
use crate::yaml::{Kind, Node};

/// An object of a source file.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    pub file: &'a str,
    /// From the top of the file.
    pub path: String,
    pub node: &'a Node,
}

impl<'a> Entry<'a> {
    /// The whole of a file.
    pub fn new(file: &'a str, node: &'a Node) -> Self {
        Self {
            file,
            path: String::new(),
            node,
        }
    }

    /// Where it begins.
    pub fn place(&self) -> Place {
        Place {
            file: self.file.to_owned(),
            line: self.node.line,
            path: self.path.clone(),
        }
    }

    /// Where a member of it is, or itself if there is none.
    pub fn place_of(&self, key: &str) -> Place {
        Place {
            file: self.file.to_owned(),
            line: self.node.line_of(key),
            path: self.path_of(key),
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Refuses what is no object, and every member that has none of these names.
    pub fn known(&self, keys: &[&str], problems: &mut Problems) -> bool {
        if !matches!(self.node.kind, Kind::Map(_)) {
            problems.error("wrong-type", &self.place(), "must be an object");
            return false;
        }
        let mut good = true;
        for (key, _) in self.node.members() {
            if !keys.contains(&key.name.as_str()) {
                let place = Place {
                    line: key.line,
                    ..self.place_of(&key.name)
                };
                let message = format!("is unknown here; known are {}", keys.join(", "));
                problems.error("unknown-key", &place, message);
                good = false;
            }
        }
        good
    }

    /// The member of that name, if it is there and not null.
    pub fn get(&self, key: &str) -> Option<Self> {
        let node = self.node.get(key)?;
        (!matches!(node.kind, Kind::Null)).then(|| Self {
            file: self.file,
            path: self.path_of(key),
            node,
        })
    }

    fn wrong(&self, what: &str, problems: &mut Problems) {
        problems.error("wrong-type", &self.place(), format!("must be {what}"));
    }

    /// A text that has to be there.
    pub fn text(&self, key: &str, problems: &mut Problems) -> Option<&'a str> {
        let Some(member) = self.get(key) else {
            problems.error("missing", &self.place_of(key), "is required");
            return None;
        };
        let text = member.node.text().filter(|text| !text.is_empty());
        if text.is_none() {
            member.wrong("a text that is not empty", problems);
        }
        text
    }

    /// A text that may be there.
    pub fn optional_text(&self, key: &str, problems: &mut Problems) -> Option<&'a str> {
        self.get(key)?;
        self.text(key, problems)
    }

    /// A whole number, 0 or more, that may be there.
    pub fn number(&self, key: &str, problems: &mut Problems) -> Option<u64> {
        let member = self.get(key)?;
        let number = match &member.node.kind {
            Kind::Number(number) => number.as_u64(),
            _ => None,
        };
        if number.is_none() {
            member.wrong("a whole number", problems);
        }
        number
    }

    /// A duration of 1 ms to 1 h that may be there: `250ms`, `15s`.
    pub fn duration(&self, key: &str, problems: &mut Problems) -> Option<Duration> {
        let member = self.get(key)?;
        let span = member
            .node
            .text()
            .and_then(|text| text.parse::<Span>().ok());
        let bounds = Duration::from_millis(1)..=Duration::from_secs(3600);
        let span = span.map(|span| span.0).filter(|it| bounds.contains(it));
        if span.is_none() {
            member.wrong("a duration of 1ms to 1h, such as 250ms or 15s", problems);
        }
        span
    }

    /// The items of a list; none if there is none.
    pub fn list(&self, key: &str, problems: &mut Problems) -> Vec<Self> {
        let Some(member) = self.get(key) else {
            return Vec::new();
        };
        if !matches!(member.node.kind, Kind::List(_)) {
            member.wrong("a list", problems);
        }
        let items = member.node.items().iter().enumerate();
        items
            .map(|(index, node)| Self {
                file: self.file,
                path: format!("{}[{index}]", member.path),
                node,
            })
            .collect()
    }

    /// A list of texts, or one text for a list of one.
    pub fn texts(&self, key: &str, problems: &mut Problems) -> Vec<(Place, &'a str)> {
        let Some(member) = self.get(key) else {
            return Vec::new();
        };
        if let Some(text) = member.node.text() {
            return vec![(member.place(), text)];
        }
        let mut texts = Vec::new();
        for item in self.list(key, problems) {
            match item.node.text().filter(|text| !text.is_empty()) {
                Some(text) => texts.push((item.place(), text)),
                None => item.wrong("a text that is not empty", problems),
            }
        }
        texts
    }

    /// An object, if it is there.
    pub fn object(&self, key: &str, problems: &mut Problems) -> Option<Self> {
        let member = self.get(key)?;
        if !matches!(member.node.kind, Kind::Map(_)) {
            member.wrong("an object", problems);
            return None;
        }
        Some(member)
    }
}

/// Whether names in both gateways may be this: lower-case letters, digits and single `-`, `_` or `.` between them.
pub fn is_name(text: &str) -> bool {
    text.len() <= 64
        && !text.is_empty()
        && text.split(['-', '_', '.']).all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        })
}

/// Reads the name of what a file describes, which is the name of the file: one noun, one file.
pub fn name_as_file<'a>(entry: &Entry<'a>, stem: &str, problems: &mut Problems) -> Option<&'a str> {
    let name = entry.text("name", problems)?;
    if !is_name(name) {
        let message =
            format!("{name:?} is no name: lower-case letters, digits, and - _ . between them");
        problems.error("name", &entry.place_of("name"), message);
        return None;
    }
    if name != stem {
        let message = format!("is {name}, but the file is called {stem}: one of each");
        problems.error("name", &entry.place_of("name"), message);
    }
    Some(name)
}
