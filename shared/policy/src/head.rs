//! The head of a request or a response: its headers, as the gateway gave them.
//!
//! Names and values are bytes, for nothing stops a client from sending others. All of them live in
//! one buffer, so that reading a request is one crossing and two allocations.

use crate::effects::HeaderEdit;

/// Headers in order, duplicates kept. Pseudo-headers (`:method`, `:path`, …) come as headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    bytes: Vec<u8>,
    fields: Vec<Field>,
    truncated: bool,
}

/// Where a name and its value are. Offsets are in range by construction; reads check all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    name: (u32, u32),
    value: (u32, u32),
}

impl Head {
    /// Reads the header map format of Proxy-Wasm: a count, the sizes of each name and value, then
    /// the bytes, each ended by NUL; all little-endian `u32`. `None` for anything else.
    #[must_use]
    pub fn from_wire(bytes: Vec<u8>) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let count = usize::try_from(word(&bytes, 0)?).ok()?;
        let sizes_end = count.checked_mul(8)?.checked_add(4)?;
        if sizes_end > bytes.len() {
            return None;
        }
        let mut fields = Vec::with_capacity(count);
        let mut at = u32::try_from(sizes_end).ok()?;
        for index in 0..count {
            let sizes = index.checked_mul(8)?.checked_add(4)?;
            let name = (at, word(&bytes, sizes)?);
            let value_at = at.checked_add(name.1)?.checked_add(1)?;
            let value = (value_at, word(&bytes, sizes.checked_add(4)?)?);
            at = value_at.checked_add(value.1)?.checked_add(1)?;
            fields.push(Field { name, value });
        }
        if usize::try_from(at).ok()? > bytes.len() {
            return None;
        }
        Some(Self {
            bytes,
            fields,
            truncated: false,
        })
    }

    /// Marks the head as possibly incomplete: the gateway hands out no more headers than this.
    #[must_use]
    pub const fn with_truncation(mut self, truncated: bool) -> Self {
        self.truncated = truncated;
        self
    }

    /// The same with another path. One that would not fit into 4 GiB is left out, and there is none.
    #[must_use]
    pub fn with_path(mut self, path: &[u8]) -> Self {
        let at = u32::try_from(self.bytes.len());
        let len = u32::try_from(path.len());
        let value = at.ok().zip(len.ok());
        self.bytes.extend_from_slice(path);
        let Self { bytes, fields, .. } = &mut self;
        fields.retain_mut(|field| match (slice(bytes, field.name), value) {
            (b":path", Some(value)) => {
                field.value = value;
                true
            }
            (b":path", None) => false,
            _ => true,
        });
        self
    }

    /// The same, with room for a few edits.
    #[must_use]
    pub fn editable(&self) -> Self {
        const HEADERS: usize = 8;
        const BYTES: usize = 256;
        let mut bytes = Vec::with_capacity(self.bytes.len().saturating_add(BYTES));
        bytes.extend_from_slice(&self.bytes);
        let mut fields = Vec::with_capacity(self.fields.len().saturating_add(HEADERS));
        fields.extend_from_slice(&self.fields);
        Self {
            bytes,
            fields,
            truncated: self.truncated,
        }
    }

    /// Makes an edit. A value that would not fit into 4 GiB is left out.
    pub fn edit(&mut self, edit: &HeaderEdit) {
        let Self { bytes, fields, .. } = self;
        fields.retain(|field| !field.is_named(edit.name(), bytes));
        if let HeaderEdit::Set(name, value) = edit {
            self.push(name.as_bytes(), value.as_bytes());
        }
    }

    /// Adds a header. One that would not fit into 4 GiB is left out.
    fn push(&mut self, name: &[u8], value: &[u8]) {
        let mut put = |part: &[u8]| -> Option<(u32, u32)> {
            let at = u32::try_from(self.bytes.len()).ok()?;
            let len = u32::try_from(part.len()).ok()?;
            self.bytes.extend_from_slice(part);
            Some((at, len))
        };
        if let (Some(name), Some(value)) = (put(name), put(value)) {
            self.fields.push(Field { name, value });
        }
    }

    /// Whether the client may have sent more headers than are here.
    #[must_use]
    pub const fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// How many headers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| {
            (
                slice(&self.bytes, field.name),
                slice(&self.bytes, field.value),
            )
        })
    }

    /// Every value of a header, in order. Names are compared without regard to ASCII case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.fields
            .iter()
            .filter(move |field| field.is_named(name, &self.bytes))
            .map(|field| slice(&self.bytes, field.value))
    }

    /// The first value of a header. Of credentials there may be several: use [`Head::all`].
    #[must_use]
    pub fn first<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The first value of a header, if it is UTF-8.
    #[must_use]
    pub fn first_str<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        std::str::from_utf8(self.first(name)?).ok()
    }

    /// The request method; empty if there is none.
    #[must_use]
    pub fn method(&self) -> &str {
        self.first_str(":method").unwrap_or_default()
    }

    /// The path with its query, as sent; `None` if it is missing or not UTF-8.
    #[must_use]
    pub fn path_and_query(&self) -> Option<&str> {
        self.first_str(":path")
    }

    /// The host the client asked for: `host`, or `:authority` where there is no such header.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.first_str("host")
            .or_else(|| self.first_str(":authority"))
    }

    /// The response status, if this is the head of a response.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.first_str(":status")?.parse().ok()
    }
}

impl Field {
    /// Nearly all names differ in length: only that is looked at within the loops over all fields.
    #[inline(always)]
    fn is_named(&self, name: &str, bytes: &[u8]) -> bool {
        usize::try_from(self.name.1) == Ok(name.len()) && self.is_spelled(name, bytes)
    }

    fn is_spelled(&self, name: &str, bytes: &[u8]) -> bool {
        let given = slice(bytes, self.name);
        given == name.as_bytes() || given.eq_ignore_ascii_case(name.as_bytes())
    }
}

fn slice(bytes: &[u8], (at, len): (u32, u32)) -> &[u8] {
    let (Ok(at), Ok(len)) = (usize::try_from(at), usize::try_from(len)) else {
        return &[];
    };
    bytes.get(at..at.saturating_add(len)).unwrap_or_default()
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(u32::from_le_bytes(four))
}

/// Makes a [`Head`] header by header.
#[derive(Clone, Debug, Default)]
pub struct HeadBuilder(Head);

impl HeadBuilder {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header. One that would not fit into 4 GiB is left out.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.0.push(name.as_ref(), value.as_ref());
        self
    }

    #[must_use]
    pub fn build(self) -> Head {
        self.0
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Head {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        pairs
            .into_iter()
            .fold(HeadBuilder::new(), |head, (name, value)| {
                head.header(name, value)
            })
            .build()
    }
}

/// Whether this can be the name of a header (RFC 9110 section 5.6.2: a token).
#[must_use]
pub fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Writes pairs in the header map format of Proxy-Wasm, the reverse of [`Head::from_wire`].
/// `None` when a part does not fit the format.
#[must_use]
pub fn to_wire(pairs: &[(&[u8], &[u8])]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&u32::try_from(pairs.len()).ok()?.to_le_bytes());
    for (name, value) in pairs {
        bytes.extend_from_slice(&u32::try_from(name.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(value.len()).ok()?.to_le_bytes());
    }
    for (name, value) in pairs {
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(value);
        bytes.push(0);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn reads_what_the_gateway_writes() {
        let wire = to_wire(&[
            (b":method", b"GET"),
            (b"X-Tag", b"one"),
            (b"x-tag", b"\xff\x00two"),
        ])
        .unwrap();
        let head = Head::from_wire(wire).unwrap();
        assert_eq!(head.len(), 3);
        assert_eq!(head.method(), "GET");
        let tags: Vec<_> = head.all("x-tag").collect();
        assert_eq!(tags, [&b"one"[..], b"\xff\x00two"]);
        assert_eq!(head.first_str("x-tag"), Some("one"));
    }

    #[test]
    fn survives_every_truncation_and_every_flipped_byte() {
        let wire = to_wire(&[(b"a", b"1"), (b"bb", b"22"), (b"", b"")]).unwrap();
        for len in 0..wire.len() {
            if let Some(head) = Head::from_wire(wire[..len].to_vec()) {
                assert!(head.is_empty());
            }
        }
        for at in 0..wire.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut bad = wire.clone();
                bad[at] = byte;
                if let Some(head) = Head::from_wire(bad) {
                    let _ = head.iter().count();
                }
            }
        }
    }

    #[test]
    fn the_path_can_be_another() {
        let head: Head = [(":method", "GET"), (":path", "/b"), ("a", "1")]
            .into_iter()
            .collect();
        let head = head.with_path(b"/a%2f..%2fb");
        assert_eq!(head.path_and_query(), Some("/a%2f..%2fb"));
        assert_eq!((head.method(), head.first_str("a")), ("GET", Some("1")));
        assert_eq!(head.len(), 3);
    }

    #[test]
    fn an_edit_replaces_every_value_or_removes_them() {
        let mut head: Head = [("X-Tag", "one"), ("a", "1"), ("x-tag", "two")]
            .into_iter()
            .collect();
        head.edit(&HeaderEdit::Set("x-TAG".into(), "three".into()));
        assert_eq!(head.all("x-tag").collect::<Vec<_>>(), [b"three"]);
        head.edit(&HeaderEdit::Remove("X-TAG".into()));
        head.edit(&HeaderEdit::Remove("b".into()));
        assert_eq!(head.iter().collect::<Vec<_>>(), [(&b"a"[..], &b"1"[..])]);
    }

    #[test]
    fn prefers_the_host_header_to_the_authority() {
        let head: Head = [(":authority", "kong:28000"), ("host", "api.example.com")]
            .into_iter()
            .collect();
        assert_eq!(head.authority(), Some("api.example.com"));
    }
}
