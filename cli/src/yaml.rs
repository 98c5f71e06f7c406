//! YAML, and so JSON, with the line of everything.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use crate::outcome::Failure;

/// A value and where it begins.
#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    /// From 1.
    pub line: u64,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file.
    Map(Vec<(Key, Node)>),
}

/// The name of a member.
#[derive(Clone, Debug)]
pub struct Key {
    pub name: String,
    pub line: u64,
}

/// A file of one or more documents.
#[derive(Debug)]
pub struct File {
    pub text: String,
    pub documents: Vec<Node>,
}

/// Where a file is no YAML.
#[derive(Debug)]
pub struct NotYaml {
    pub line: Option<u64>,
    pub why: String,
}

impl File {
    /// Reads a file; the inner result says where it is no YAML.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path) -> Result<Result<Self, NotYaml>, Failure> {
        let text = read(path)?;
        Ok(documents(&text).map(|documents| Self { text, documents }))
    }
}

/// The text of a file.
///
/// # Errors
/// When it cannot be read, or is no text.
pub fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| Failure::of_file(path, e))
}

/// Every document of a text that is not empty.
pub fn documents(text: &str) -> Result<Vec<Node>, NotYaml> {
    let documents: Vec<Spanned<Kind>> =
        serde_saphyr::from_multiple(text).map_err(|error| NotYaml {
            line: error
                .location()
                .map(|location| location.line())
                .filter(|line| *line > 0),
            why: first_line(&error.without_snippet().to_string()),
        })?;
    Ok(documents.into_iter().map(Node::from).collect())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

impl From<Spanned<Kind>> for Node {
    fn from(spanned: Spanned<Kind>) -> Self {
        Self {
            line: spanned.referenced.line(),
            kind: spanned.value,
        }
    }
}

impl Node {
    /// The member of that name.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.members()
            .iter()
            .find(|(key, _)| key.name == name)
            .map(|(_, node)| node)
    }

    /// The member at the end of these names.
    pub fn at(&self, names: &[&str]) -> Option<&Self> {
        names.iter().try_fold(self, |node, name| node.get(name))
    }

    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn bool(&self) -> Option<bool> {
        match self.kind {
            Kind::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The text of the member of that name.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.get(name)?.text()
    }

    /// The items of a list; none of anything else.
    pub fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// The items of the member of that name.
    pub fn items_of(&self, name: &str) -> &[Self] {
        self.get(name).map(Self::items).unwrap_or_default()
    }

    /// The members of an object; none of anything else.
    pub fn members(&self) -> &[(Key, Self)] {
        match &self.kind {
            Kind::Map(members) => members,
            _ => &[],
        }
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(number) => Value::Number(number.clone()),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(items) => items.iter().map(Self::to_json).collect(),
            Kind::Map(members) => members
                .iter()
                .map(|(key, node)| (key.name.clone(), node.to_json()))
                .collect::<Map<_, _>>()
                .into(),
        }
    }

    /// The line of what is at this path, `rules[2].match.prefix`, or of the last thing on the way to it that exists.
    pub fn line_of(&self, path: &str) -> u64 {
        let mut node = self;
        let mut line = self.line;
        let mut rest = path;
        while !rest.is_empty() {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let next = match &node.kind {
                Kind::List(items) => index(rest).and_then(|(index, after)| {
                    let item = items.get(index)?;
                    Some((item.line, item, after))
                }),
                // A name may itself have dots and brackets.
                Kind::Map(members) => members
                    .iter()
                    .filter_map(|(key, member)| {
                        let after = rest.strip_prefix(key.name.as_str())?;
                        let ends = after.is_empty() || after.starts_with(['.', '[']);
                        ends.then_some((key.line, member, after))
                    })
                    .min_by_key(|(_, _, after)| after.len()),
                _ => None,
            };
            let Some(found) = next else { break };
            (line, node, rest) = found;
        }
        line
    }

    /// The line in the file of a line, from 1, of this text.
    pub fn line_in_text(&self, file: &str, line: u64) -> u64 {
        // A block begins with its first line, below its sign.
        let above = usize::try_from(self.line.saturating_sub(2)).unwrap_or(usize::MAX);
        let above = file.lines().nth(above).unwrap_or_default();
        let above = above.split(" #").next().unwrap_or_default().trim_end();
        let sign = above.trim_end_matches(|c: char| matches!(c, '+' | '-') || c.is_ascii_digit());
        let is_block = self.line > 1 && sign.ends_with(['|', '>']);
        if is_block {
            self.line.saturating_add(line).saturating_sub(1)
        } else {
            self.line
        }
    }
}

/// `[2].rest`: 2 and `.rest`.
fn index(path: &str) -> Option<(usize, &str)> {
    let (digits, after) = path.strip_prefix('[')?.split_once(']')?;
    Some((digits.parse().ok()?, after))
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Kind, E> {
        Number::from_f64(value)
            .map(Kind::Number)
            .ok_or_else(|| E::custom("a number that JSON does not have"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Kind, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<Spanned<Kind>>()? {
            items.push(item.into());
        }
        Ok(Kind::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut members = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Spanned<Kind>>()? {
            let key = Key {
                line: key.referenced.line(),
                name: key.value,
            };
            members.push((key, value.into()));
        }
        Ok(Kind::Map(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a:\n- b: 1\n  c.d:\n    e: yes it is\n- []\n---\n{\"x\": [null, true, 1.5, -2],\n\"y\": {}}\n";

    #[test]
    fn everything_has_a_line() {
        let documents = documents(TEXT).unwrap();
        assert_eq!(documents.len(), 2);
        for (document, path, line) in [
            (0, "", 1),
            (0, "a", 1),
            (0, "a[0].b", 2),
            (0, "a[0].c.d", 3),
            (0, "a[0].c.d.e", 4),
            (0, "a[0].c.d.gone.x", 3),
            (0, "a[1]", 5),
            (1, "x[3]", 7),
            (1, "y", 8),
        ] {
            assert_eq!(documents[document].line_of(path), line, "{path}");
        }
        assert_eq!(
            documents[1].to_json(),
            serde_json::json!({"x": [null, true, 1.5, -2], "y": {}})
        );
    }

    #[test]
    fn lines_of_blocks_are_those_of_the_file() {
        let text = "a: | # JSON\n  {\n  \"b\": 1 }\nc: \"{}\"\nd: >-\n  x\n";
        let document = &documents(text).unwrap()[0];
        assert_eq!(document.get("a").unwrap().line_in_text(text, 2), 3);
        assert_eq!(document.get("c").unwrap().line_in_text(text, 1), 4);
        assert_eq!(document.get("d").unwrap().line_in_text(text, 1), 6);
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_line() {
        for (bad, line) in [("a: [1\nb: 2\n", 2), ("a: 1\na: 2\n", 2), ("a: *b\n", 1)] {
            let found = documents(bad).unwrap_err();
            assert!(
                found.line.is_some_and(|at| at >= 1 && at <= line),
                "{bad}: {found:?}"
            );
            assert!(!found.why.is_empty());
        }
    }
}
