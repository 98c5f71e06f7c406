//! JSON values as a deserializer, whose errors say where they are.
//!
//! Every filter reads its options with this one. It exists for its size: a generic deserializer below a
//! generic wrapper that follows paths is compiled once for every type and method, which was a third of
//! a module. Here, what does not depend on the type is not generic. It is stricter than that of
//! `serde_json` in one thing: an array is no object, whatever the order of its items. And it is
//! laxer in one: an empty object is an empty list where a list belongs, as which Kong writes it.

use std::fmt;

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer as _, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

/// A step from a value to one in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    Member(String),
    Item(usize),
}

/// What is wrong, and where.
#[derive(Debug)]
pub(crate) struct Error {
    /// From the innermost segment outwards, while the error travels.
    path: Vec<Segment>,
    problem: String,
}

impl Error {
    fn new(problem: String) -> Self {
        Self {
            path: Vec::new(),
            problem,
        }
    }

    fn within(mut self, segment: Segment) -> Self {
        self.path.push(segment);
        self
    }

    /// The path from the outermost value, and the problem.
    pub(crate) fn into_parts(mut self) -> (Vec<Segment>, String) {
        self.path.reverse();
        (self.path, self.problem)
    }
}

impl de::Error for Error {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self::new(problem.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        invalid("type", &found, expected)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        invalid("value", &found, expected)
    }
}

/// Without the string that was found: it may be a secret in the wrong place.
#[cold]
fn invalid(what: &str, found: &Unexpected<'_>, expected: &dyn Expected) -> Error {
    Error::new(match found {
        Unexpected::Bool(found) => {
            format!("invalid {what}: boolean `{found}`, expected {expected}")
        }
        Unexpected::Unsigned(found) => {
            format!("invalid {what}: integer `{found}`, expected {expected}")
        }
        Unexpected::Signed(found) => {
            format!("invalid {what}: integer `{found}`, expected {expected}")
        }
        other => {
            let found = match other {
                Unexpected::Float(_) => "floating point number",
                Unexpected::Str(_) => "string",
                Unexpected::Unit => "null",
                Unexpected::Seq => "sequence",
                Unexpected::Map => "map",
                _ => "something else",
            };
            format!("invalid {what}: {found}, expected {expected}")
        }
    })
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for Error {}

/// A value to be read.
#[derive(Clone, Copy)]
pub(crate) struct Node<'de>(pub(crate) &'de Value);

#[cold]
fn wrong_type(value: &Value, expected: &dyn Expected) -> Error {
    let found = match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(found) => Unexpected::Bool(*found),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(found), _) => Unexpected::Unsigned(found),
            (_, Some(found)) => Unexpected::Signed(found),
            _ => Unexpected::Float(0.0),
        },
        Value::String(found) => Unexpected::Str(found),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    };
    invalid("type", &found, expected)
}

impl<'de> Node<'de> {
    fn integer<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if let Value::Number(number) = self.0 {
            if let Some(number) = number.as_u64() {
                return visitor.visit_u64(number);
            }
            if let Some(number) = number.as_i64() {
                return visitor.visit_i64(number);
            }
        }
        Err(wrong_type(self.0, &visitor))
    }

    fn float<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0.as_f64() {
            Some(number) => visitor.visit_f64(number),
            None => Err(wrong_type(self.0, &visitor)),
        }
    }

    fn text<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::String(text) => visitor.visit_borrowed_str(text),
            other => Err(wrong_type(other, &visitor)),
        }
    }
}

macro_rules! as_kind {
    ($kind:ident: $($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.$kind(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) if number.is_f64() => self.float(visitor),
            Value::Number(_) => self.integer(visitor),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(members) => visitor.visit_map(Members::of(members)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Bool(value) => visitor.visit_bool(*value),
            other => Err(wrong_type(other, &visitor)),
        }
    }

    as_kind! {
        integer: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }
    as_kind! { float: deserialize_f32 deserialize_f64 }
    as_kind! { text: deserialize_char deserialize_str deserialize_string deserialize_identifier }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let items: &[Value] = match self.0 {
            Value::Array(items) => items,
            Value::Object(members) if members.is_empty() => &[],
            other => return Err(wrong_type(other, &visitor)),
        };
        visitor.visit_seq(Items { items, next: 0 })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(members) => visitor.visit_map(Members::of(members)),
            other => Err(wrong_type(other, &visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let variant = match self.0 {
            Value::String(name) => Some((name, None)),
            Value::Object(members) if members.len() == 1 => members
                .iter()
                .next()
                .map(|(name, content)| (name, Some(content))),
            _ => None,
        };
        match variant {
            Some((name, content)) => visitor.visit_enum(Variant { name, content }),
            None => Err(wrong_type(self.0, &"string or map with a single key")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { i128 u128 bytes byte_buf unit unit_struct tuple tuple_struct }
}

struct Items<'de> {
    items: &'de [Value],
    next: usize,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some(item) = self.items.get(self.next) else {
            return Ok(None);
        };
        let index = self.next;
        self.next = index.saturating_add(1);
        match seed.deserialize(Node(item)) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(error.within(Segment::Item(index))),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len().saturating_sub(self.next))
    }
}

struct Members<'de> {
    members: serde_json::map::Iter<'de>,
    current: Option<(&'de String, &'de Value)>,
}

impl<'de> Members<'de> {
    fn of(members: &'de Map<String, Value>) -> Self {
        Self {
            members: members.iter(),
            current: None,
        }
    }

    #[cold]
    fn within(&self, error: Error) -> Error {
        let name = self.current.map(|(name, _)| name.clone());
        error.within(Segment::Member(name.unwrap_or_default()))
    }
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.current = self.members.next();
        let Some((name, _)) = self.current else {
            return Ok(None);
        };
        match seed.deserialize(Name(name)) {
            Ok(key) => Ok(Some(key)),
            Err(error) => Err(self.within(error)),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (_, value) = self
            .current
            .ok_or_else(|| Error::new("a value without a name".to_owned()))?;
        match seed.deserialize(Node(value)) {
            Ok(value) => Ok(value),
            Err(error) => Err(self.within(error)),
        }
    }
}

/// The name of a member.
struct Name<'de>(&'de str);

impl<'de> Deserializer<'de> for Name<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// One of an enum, with what belongs to it.
struct Variant<'de> {
    name: &'de str,
    content: Option<&'de Value>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        Ok((seed.deserialize(Name(self.name))?, self))
    }
}

impl Variant<'_> {
    #[cold]
    fn without_content(&self) -> Error {
        Error::new(format!("`{}` needs a value", self.name))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content {
            None | Some(Value::Null) => Ok(()),
            Some(other) => Err(wrong_type(other, &"unit variant")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        let content = self.content.ok_or_else(|| self.without_content())?;
        seed.deserialize(Node(content))
            .map_err(|error| error.within(Segment::Member(self.name.to_owned())))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        let content = self.content.ok_or_else(|| self.without_content())?;
        Node(content).deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let content = self.content.ok_or_else(|| self.without_content())?;
        Node(content).deserialize_map(visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Test {
        Always,
        Equals(String),
        OneOf(Vec<i8>),
        Between { least: u64, most: Option<f64> },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct All {
        flag: bool,
        tests: BTreeMap<String, Vec<Test>>,
    }

    fn read(value: &Value) -> Result<All, (Vec<Segment>, String)> {
        All::deserialize(Node(value)).map_err(Error::into_parts)
    }

    #[test]
    fn reads_what_serde_json_reads() {
        let value = json!({"flag": true, "ignored": [1], "tests": {"a": [
            "always", {"always": null}, {"equals": "x"}, {"one_of": [-128, 127]},
            {"between": {"least": 1, "most": null}}, {"between": {"least": 1, "most": 2}},
        ], "b": []}});
        assert_eq!(
            read(&value).unwrap(),
            serde_json::from_value(value).unwrap()
        );
        let value = json!({"flag": false, "tests": {"a": {}}});
        assert_eq!(
            read(&value).unwrap().tests["a"],
            [],
            "Kong's way to write an empty list"
        );
    }

    #[test]
    fn every_error_says_where() {
        for (tests, path, problem) in [
            (json!([1]), "", "invalid type: sequence, expected a map"),
            (
                json!({"a": [3]}),
                "a 0",
                "invalid type: integer `3`, expected string or map with a single key",
            ),
            (
                json!({"a": ["always", "equals"]}),
                "a 1",
                "`equals` needs a value",
            ),
            (
                json!({"a": [{"always": 1}]}),
                "a 0",
                "invalid type: integer `1`, expected unit variant",
            ),
            (
                json!({"a": [{"equals": 1.5}]}),
                "a 0 equals",
                "invalid type: floating point number, expected a string",
            ),
            (
                json!({"a": [{"equals": null}]}),
                "a 0 equals",
                "invalid type: null, expected a string",
            ),
            (
                json!({"a": [{"one_of": [1, 300]}]}),
                "a 0 one_of 1",
                "invalid value: integer `300`, expected i8",
            ),
            (
                json!({"a": [{"one_of": [1, -300]}]}),
                "a 0 one_of 1",
                "invalid value: integer `-300`, expected i8",
            ),
            (
                json!({"a": [{"between": {"least": true}}]}),
                "a 0 least",
                "invalid type: boolean `true`, expected u64",
            ),
            (
                json!({"a": [{"between": {"most": 1}}]}),
                "a 0",
                "missing field `least`",
            ),
            (
                json!({"a": [{"never": 1}]}),
                "a 0",
                "unknown variant `never`, expected one of `always`, `equals`, `one_of`, `between`",
            ),
        ] {
            let (found, text) = read(&json!({"flag": true, "tests": tests})).unwrap_err();
            assert_eq!(text, problem);
            let found: Vec<String> = found
                .into_iter()
                .map(|segment| match segment {
                    Segment::Member(name) => name,
                    Segment::Item(index) => index.to_string(),
                })
                .collect();
            assert_eq!(
                found.join(" "),
                format!("tests {path}").trim_end(),
                "{problem}"
            );
        }
    }

    #[test]
    fn strings_are_not_repeated_and_arrays_are_no_objects() {
        let (path, problem) = read(&json!({"flag": "hunter2", "tests": {}})).unwrap_err();
        assert_eq!(path, [Segment::Member("flag".to_owned())]);
        assert_eq!(problem, "invalid type: string, expected a boolean");
        let (path, problem) = read(&json!([true, {}])).unwrap_err();
        assert_eq!(path, []);
        assert_eq!(problem, "invalid type: sequence, expected struct All");
    }
}
