//! A signed module, and how one comes about.
//!
//! ```text
//! header
//! "signature"             what every signer signed; the crate `wasmsign2` reads and writes it
//! the code                 as it was built
//! "portcullis.release"     what the builder says of it
//! "signature_delimiter"    the builder signs the hash of everything from the code to here
//! "portcullis.approval"    what an approver says
//! "signature_delimiter"    that approver signs this hash and the one above
//! …
//! ```
//!
//! This is WebAssembly's tool convention for signatures with appended sections. What is read here is stricter than
//! the convention: each byte of the file has one place in this shape, else the module is refused.

use std::fmt;

use wasmsign2::{CustomSection, Module, Section, SectionLike as _, SignatureData, SignedHashes};

use crate::release::files;
use crate::release::keys::{PublicKey, SecretKey};
use crate::release::lengths::{self, SIGNATURES};
use crate::release::statement::{APPROVAL, Approval, LONGEST, PREFIX, RELEASE, Release};

const MODULE: &[u8; 8] = b"\0asm\x01\0\0\0";
/// The builder, and every approver.
const MOST_SIGNATURES: usize = 32;

/// Why a module cannot be trusted, whatever keys there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// No WebAssembly module.
    NoModule(String),
    /// Nobody has signed it.
    Unsigned,
    /// Not as it was signed.
    Changed(String),
    /// Signed with a key that nobody here knows.
    UnknownKey(String),
}

impl Flaw {
    /// For programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoModule(_) => "no_module",
            Self::Unsigned => "unsigned",
            Self::Changed(_) => "changed",
            Self::UnknownKey(_) => "unknown_key",
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoModule(why) => write!(f, "no WebAssembly module: {why}"),
            Self::Unsigned => f.write_str("nobody has signed it"),
            Self::Changed(why) => write!(f, "changed after it was signed: {why}"),
            Self::UnknownKey(id) => write!(
                f,
                "signed with the key {id}, which the policy does not know"
            ),
        }
    }
}

/// A module as it was built.
pub struct Unsigned(Module);

impl Unsigned {
    /// Reads one.
    ///
    /// # Errors
    /// When it is no module, or one that somebody has signed already.
    pub fn parse(bytes: &[u8]) -> Result<Self, Flaw> {
        let module = read(bytes)?;
        let sections = module.sections.iter();
        let mut custom = sections.filter_map(name);
        match custom.find(|name| is_ours(name)) {
            None => Ok(Self(module)),
            Some(name) => Err(Flaw::NoModule(format!(
                "it has a section \"{}\" already; sign what was built",
                name.escape_default()
            ))),
        }
    }

    /// Puts the builder's statement and signature to it.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn sign(mut self, release: &Release, key: &SecretKey) -> Result<Vec<u8>, String> {
        self.0.sections.push(statement(RELEASE, release)?);
        sealed(self.0, key)
    }
}

/// A module with the builder's statement, and those of approvers.
pub struct Signed {
    bytes: Vec<u8>,
    module: Module,
    data: SignatureData,
    /// For each signature, how many sections of the module it covers.
    ends: Vec<usize>,
    code: String,
    pub release: Release,
    pub approvals: Vec<Approval>,
}

impl Signed {
    /// Reads one. Whether the signatures hold is [`Self::signers`]' to say.
    ///
    /// # Errors
    /// What is wrong with its shape.
    pub fn parse(bytes: &[u8]) -> Result<Self, Flaw> {
        let module = read(bytes)?;
        let changed = |why: &str| Flaw::Changed(why.to_owned());
        let (first, rest) = module.sections.split_first().ok_or(Flaw::Unsigned)?;
        let Section::Custom(header) = first else {
            return Err(Flaw::Unsigned);
        };
        if !header.is_signature_header() {
            return Err(Flaw::Unsigned);
        }
        let data = SignatureData::deserialize(header.payload())
            .map_err(|_| changed("its signatures cannot be read"))?;
        if data.serialize().ok().as_deref() != Some(header.payload()) {
            return Err(changed("its signatures are not written as they are made"));
        }
        let sets = &data.signed_hashes_set;
        if sets.is_empty() || sets.len() > MOST_SIGNATURES {
            return Err(changed("no, or too many signatures"));
        }

        let parts: Vec<&[Section]> = rest
            .split_inclusive(Section::is_signature_delimiter)
            .collect();
        let closed = rest.last().is_some_and(Section::is_signature_delimiter);
        if !closed || parts.len() != sets.len() {
            return Err(changed("a part of it is signed by nobody"));
        }
        let hashes = sets.last().map_or(&[][..], |set| &set.hashes);
        for (at, set) in sets.iter().enumerate() {
            let fits = hashes.get(..=at) == Some(&set.hashes) && set.signatures.len() == 1;
            if !fits {
                return Err(changed("its signatures are not one for each part"));
            }
        }

        let Some(([code @ .., release, _], others)) = parts.split_first() else {
            return Err(changed("the builder's statement is missing"));
        };
        if code.iter().filter_map(name).any(is_ours) {
            return Err(changed("a statement stands among the code"));
        }
        let code = digest(&module, code)?;
        let release: Release = read_statement(release, RELEASE)?;
        let approvals = others.iter().map(|part| match part {
            [said, _] => read_statement(said, APPROVAL),
            _ => Err(changed("something was added to it that is no approval")),
        });
        let approvals = approvals.collect::<Result<Vec<Approval>, Flaw>>()?;
        if !release.is_plain() || !approvals.iter().all(Approval::is_plain) {
            return Err(changed("a statement holds what none may hold"));
        }
        let delimiters = module.sections.iter().enumerate();
        let ends = delimiters
            .filter(|(_, section)| section.is_signature_delimiter())
            .map(|(at, _)| at.saturating_add(1))
            .collect();
        Ok(Self {
            bytes: bytes.to_vec(),
            module,
            data,
            ends,
            code,
            release,
            approvals,
        })
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The SHA-256 of what was built, without statements and signatures: a rebuild of the same commit gives it.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Checks every signature, and says for each, the builder's first, which of these keys made it.
    ///
    /// # Errors
    /// When a signature does not hold, or none of these keys made it.
    pub fn signers<'k>(
        &self,
        keys: impl Iterator<Item = &'k PublicKey> + Clone,
    ) -> Result<Vec<&'k PublicKey>, Flaw> {
        let links = self.data.signed_hashes_set.iter().zip(&self.ends);
        links
            .map(|(set, end)| {
                let id = set
                    .signatures
                    .first()
                    .and_then(|it| it.key_id.as_deref())
                    .unwrap_or_default();
                let mut known = keys.clone();
                let key = known
                    .find(|key| key.id_bytes() == id)
                    .ok_or_else(|| Flaw::UnknownKey(files::hex(id)))?;
                if !key.verifies_module(&self.part(set, *end)?) {
                    return Err(Flaw::Changed(format!(
                        "the signature of the key {} does not hold",
                        key.id()
                    )));
                }
                Ok(key)
            })
            .collect()
    }

    /// Puts an approver's statement and signature to it.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn approve(mut self, approval: &Approval, key: &SecretKey) -> Result<Vec<u8>, String> {
        if self.data.signed_hashes_set.len() >= MOST_SIGNATURES {
            return Err(format!("it has {MOST_SIGNATURES} signatures already"));
        }
        self.module.sections.push(statement(APPROVAL, approval)?);
        sealed(self.module, key)
    }

    /// The module as one signer saw it, with that signature alone.
    fn part(&self, set: &SignedHashes, end: usize) -> Result<Vec<u8>, Flaw> {
        let fault = |_| Flaw::Changed("it cannot be taken apart".to_owned());
        let data = SignatureData {
            signed_hashes_set: vec![set.clone()],
            ..self.data
        };
        let data = data.serialize().map_err(fault)?;
        let header = CustomSection::new(SIGNATURES.to_owned(), data);
        let covered = self.module.sections.iter().take(end).skip(1).cloned();
        let module = Module {
            header: self.module.header,
            sections: std::iter::once(Section::Custom(header))
                .chain(covered)
                .collect(),
        };
        written(&module).map_err(fault)
    }
}

/// A module whose every byte is as [`written`] writes it.
fn read(bytes: &[u8]) -> Result<Module, Flaw> {
    let fault = |why: &str| Flaw::NoModule(why.to_owned());
    if bytes.get(..8) != Some(MODULE) {
        return Err(fault("it does not begin as one"));
    }
    lengths::check(bytes).map_err(fault)?;
    let mut reader = bytes;
    let module = Module::deserialize(&mut reader).map_err(|e| fault(&e.to_string()))?;
    if written(&module).ok().as_deref() != Some(bytes) {
        return Err(fault("its sections are not written in the shortest way"));
    }
    Ok(module)
}

fn written(module: &Module) -> Result<Vec<u8>, wasmsign2::WSError> {
    let mut bytes = Vec::new();
    module.serialize(&mut bytes)?;
    Ok(bytes)
}

fn sealed(module: Module, key: &SecretKey) -> Result<Vec<u8>, String> {
    key.sign_module(module)
        .and_then(|module| written(&module))
        .map_err(|e| e.to_string())
}

fn digest(module: &Module, code: &[Section]) -> Result<String, Flaw> {
    let built = Module {
        header: module.header,
        sections: code.to_vec(),
    };
    written(&built)
        .map(|bytes| files::sha256(&bytes))
        .map_err(|e| Flaw::NoModule(e.to_string()))
}

fn name(section: &Section) -> Option<&str> {
    match section {
        Section::Custom(custom) => Some(custom.name()),
        Section::Standard(_) => None,
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with("signature") || name.starts_with(PREFIX)
}

fn statement(name: &str, said: &impl serde::Serialize) -> Result<Section, String> {
    let json = serde_json::to_vec(said).map_err(|e| e.to_string())?;
    Ok(Section::Custom(CustomSection::new(name.to_owned(), json)))
}

fn read_statement<T: serde::de::DeserializeOwned>(
    section: &Section,
    name: &str,
) -> Result<T, Flaw> {
    let changed = |why: String| Flaw::Changed(why);
    match section {
        Section::Custom(custom) if custom.name() == name && custom.payload().len() <= LONGEST => {
            serde_json::from_slice(custom.payload()).map_err(|e| changed(format!("{name}: {e}")))
        }
        _ => Err(changed(format!(
            "there is no \"{name}\" where one has to be"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use time::OffsetDateTime;
    use wasmsign2::{CustomSection, Module, Section, SectionLike as _};

    use super::{Flaw, MODULE, Signed, Unsigned};
    use crate::release::keys::{PublicKey, SecretKey};
    use crate::release::statement::{Approval, Release, Target};

    /// Types, a function, memory, code and a name section.
    const BUILT: &[u8] = b"\0asm\x01\0\0\0\
        \x01\x04\x01\x60\x00\x00\
        \x03\x02\x01\x00\
        \x05\x03\x01\x00\x01\
        \x0a\x04\x01\x02\x00\x0b\
        \x00\x0a\x04name\x00\x03\x02me";

    fn release() -> Release {
        Release {
            module: "me".to_owned(),
            gateway: Target::Envoy,
            version: "1".to_owned(),
            commit: None,
            signed_at: OffsetDateTime::UNIX_EPOCH,
            expires_at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    fn approval(environment: &str) -> Approval {
        Approval {
            environment: environment.to_owned(),
            ticket: None,
            signed_at: OffsetDateTime::UNIX_EPOCH,
            expires_at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    struct Chain {
        keys: [SecretKey; 3],
        public: Vec<PublicKey>,
        /// After each signature.
        bytes: [Vec<u8>; 3],
    }

    fn chain() -> Chain {
        let keys = [(); 3].map(|()| SecretKey::generate());
        let built = Unsigned::parse(BUILT).unwrap();
        let first = built.sign(&release(), &keys[0]).unwrap();
        let approve = |bytes: &[u8], to: &str, key| {
            let signed = Signed::parse(bytes).unwrap();
            signed.approve(&approval(to), key).unwrap()
        };
        let second = approve(&first, "staging", &keys[1]);
        let third = approve(&second, "production", &keys[2]);
        Chain {
            public: keys.iter().map(SecretKey::public).collect(),
            keys,
            bytes: [first, second, third],
        }
    }

    fn signers(bytes: &[u8], keys: &[PublicKey]) -> Result<usize, Flaw> {
        let signed = Signed::parse(bytes)?;
        signed.signers(keys.iter()).map(|keys| keys.len())
    }

    #[test]
    fn signatures_are_added_one_by_one() {
        let chain = chain();
        for (at, bytes) in chain.bytes.iter().enumerate() {
            let signed = Signed::parse(bytes).unwrap();
            assert_eq!(signed.release, release());
            assert_eq!(signed.approvals.len(), at);
            assert_eq!(signed.code(), super::files::sha256(BUILT));
            let signers = signed.signers(chain.public.iter()).unwrap();
            let expected: Vec<&PublicKey> = chain.public.iter().take(at + 1).collect();
            assert_eq!(signers, expected);
        }
    }

    #[test]
    fn no_bit_of_a_signed_module_can_be_changed() {
        let chain = chain();
        let bytes = &chain.bytes[2];
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let found = signers(&changed, &chain.public);
                assert!(found.is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn no_byte_can_be_added_or_taken_away() {
        let chain = chain();
        let bytes = &chain.bytes[2];
        for at in 0..=bytes.len() {
            for new in [0, 1, 0x7f, 0x80] {
                let mut longer = bytes.clone();
                longer.insert(at, new);
                assert!(
                    signers(&longer, &chain.public).is_err(),
                    "{new} before byte {at}"
                );
            }
            // A chain may be cut where a signature ends: it is then what it was before the next one. But what was
            // signed later is still among the signatures.
            assert!(
                at == bytes.len() || signers(&bytes[..at], &chain.public).is_err(),
                "cut at {at}"
            );
            let mut shorter = bytes.clone();
            if at < shorter.len() {
                shorter.remove(at);
                assert!(
                    signers(&shorter, &chain.public).is_err(),
                    "without byte {at}"
                );
            }
        }
        // A section of its own, with and without an end that looks signed.
        let end = b"\x00\x25\x13signature_delimiter0123456789abcdef0";
        for added in [
            &b"\x00\x03\x02me"[..],
            end,
            &[&b"\x00\x03\x02me"[..], end].concat(),
        ] {
            let longer = [bytes, added].concat();
            assert!(matches!(
                signers(&longer, &chain.public),
                Err(Flaw::Changed(_) | Flaw::NoModule(_))
            ));
        }
    }

    /// What the signing crate would read past, and verify.
    #[test]
    fn there_is_one_way_to_write_a_module() {
        let chain = chain();
        let bytes = &chain.bytes[0];
        // After the signatures, still in their section.
        let mut module = super::read(bytes).unwrap();
        let mut data = module.sections[0].payload().to_vec();
        data.push(0);
        let header = CustomSection::new(super::SIGNATURES.to_owned(), data);
        module.sections[0] = Section::Custom(header);
        let longer = super::written(&module).unwrap();
        assert!(chain.public[0].verifies_module(&longer));
        assert!(matches!(
            signers(&longer, &chain.public),
            Err(Flaw::Changed(_))
        ));
        // The length of the first section of the code in two bytes instead of one.
        let at = bytes.len()
            - super::written(&Module {
                header: *MODULE,
                sections: module.sections.split_off(1),
            })
            .unwrap()
            .len()
            + 9;
        assert_eq!(bytes[at - 1..=at], BUILT[8..=9]);
        let mut longer = bytes.clone();
        longer[at] |= 0x80;
        longer.insert(at + 1, 0);
        assert!(chain.public[0].verifies_module(&longer));
        assert!(matches!(
            signers(&longer, &chain.public),
            Err(Flaw::NoModule(_))
        ));
    }

    #[test]
    fn signatures_of_one_module_do_not_fit_another() {
        let chain = chain();
        let mut other = BUILT.to_vec();
        *other.last_mut().unwrap() = b'u';
        let other = Unsigned::parse(&other).unwrap();
        let other = other.sign(&release(), &chain.keys[0]).unwrap();
        // The head of one, the body of the other: both of the same length.
        let mut mixed = chain.bytes[0].clone();
        let body = mixed.len() - 100;
        mixed[body..].copy_from_slice(&other[other.len() - 100..]);
        assert!(signers(&mixed, &chain.public).is_err());
        assert_eq!(signers(&other, &chain.public), Ok(1));
    }

    #[test]
    fn what_is_no_module_or_unsigned_is_told_apart() {
        let chain = chain();
        assert_eq!(signers(BUILT, &chain.public), Err(Flaw::Unsigned));
        for none in [
            &b""[..],
            b"\0asm",
            b"\0asm\x0d\0\x01\0",
            b"#!/bin/sh",
            &[&MODULE[..], &[0xff; 40]].concat(),
        ] {
            assert!(
                matches!(signers(none, &chain.public), Err(Flaw::NoModule(_))),
                "{none:?}"
            );
        }
        assert!(matches!(
            signers(&chain.bytes[2], &chain.public[..2]),
            Err(Flaw::UnknownKey(_))
        ));
        assert!(Unsigned::parse(&chain.bytes[0]).is_err());
    }
}
