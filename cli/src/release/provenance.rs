//! How a release was built: an in-toto statement with SLSA's predicate (provenance v1), in a signed envelope (DSSE).
//! Its subjects are the modules as they were built, before anybody signed them, so it holds for each environment.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::release::keys::SecretKey;
use crate::release::trust::{Policy, date};

const PAYLOAD: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";
const BUILD_TYPE: &str = "urn:portcullis:make-wasm:v1";

/// A file, by what it is called and its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    pub name: String,
    pub sha256: String,
}

impl Product {
    fn json(&self) -> Value {
        json!({ "name": self.name, "digest": { "sha256": self.sha256 } })
    }
}

/// What is known about a build.
#[derive(Debug)]
pub struct Build {
    /// Where the sources are, as a URI.
    pub source: String,
    pub commit: String,
    /// Who built, as a URI.
    pub builder: String,
    /// The compiler and what else the bytes depend on, line by line.
    pub toolchain: Vec<String>,
    /// The SHA-256 of `Cargo.lock`.
    pub lock: String,
    pub finished_at: OffsetDateTime,
    pub modules: Vec<Product>,
    /// SBOMs and what else belongs to them.
    pub byproducts: Vec<Product>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    keyid: String,
    sig: String,
}

impl Build {
    /// The signed envelope, as JSON.
    #[must_use]
    pub fn signed(&self, key: &SecretKey) -> String {
        let all = |products: &[Product]| products.iter().map(Product::json).collect::<Vec<Value>>();
        let statement = json!({
            "_type": STATEMENT,
            "subject": all(&self.modules),
            "predicateType": PREDICATE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": { "source": self.source },
                    "internalParameters": { "toolchain": self.toolchain },
                    "resolvedDependencies": [
                        { "uri": self.source, "digest": { "gitCommit": self.commit } },
                        { "name": "Cargo.lock", "digest": { "sha256": self.lock } },
                    ],
                },
                "runDetails": {
                    "builder": { "id": self.builder },
                    "metadata": { "finishedOn": date(self.finished_at) },
                    "byproducts": all(&self.byproducts),
                },
            },
        });
        let payload = statement.to_string().into_bytes();
        let signature = key.sign(&signed_bytes(PAYLOAD, &payload));
        let envelope = json!({
            "payloadType": PAYLOAD,
            "payload": STANDARD.encode(&payload),
            "signatures": [{ "keyid": key.public().id(), "sig": STANDARD.encode(signature) }],
        });
        format!("{envelope}\n")
    }
}

/// What a builder has signed about a build.
#[derive(Debug)]
pub struct Provenance {
    /// The name of the builder's key.
    pub builder: String,
    modules: Vec<Product>,
    byproducts: Vec<Product>,
}

impl Provenance {
    /// Reads an envelope that one of the policy's builders has signed.
    ///
    /// # Errors
    /// When it is none, or none of them has signed it.
    pub fn open(bytes: &[u8], policy: &Policy, at: OffsetDateTime) -> Result<Self, String> {
        let none = |_| "no signed in-toto statement".to_owned();
        let envelope: Envelope =
            serde_json::from_slice(bytes).map_err(|e| format!("no signed statement: {e}"))?;
        let payload = STANDARD.decode(&envelope.payload).map_err(none)?;
        let to_sign = signed_bytes(&envelope.payload_type, &payload);
        let mut signatures = envelope.signatures.iter().take(8);
        let builder = signatures
            .find_map(|it| policy.builder_of(&to_sign, &STANDARD.decode(&it.sig).ok()?, at))
            .ok_or("no builder that the policy knows has signed it")?;
        let statement: Value =
            serde_json::from_slice(&payload).map_err(|e| format!("no statement: {e}"))?;
        let is = |pointer: &str, expected: &str| {
            statement.pointer(pointer).and_then(Value::as_str) == Some(expected)
        };
        if envelope.payload_type != PAYLOAD
            || !is("/_type", STATEMENT)
            || !is("/predicateType", PREDICATE)
            || !is("/predicate/buildDefinition/buildType", BUILD_TYPE)
        {
            return Err("signed, but no provenance of such a build".to_owned());
        }
        Ok(Self {
            builder: builder.to_owned(),
            modules: products(statement.pointer("/subject")),
            byproducts: products(statement.pointer("/predicate/runDetails/byproducts")),
        })
    }

    /// Whether this module, as it was built, is of that build.
    #[must_use]
    pub fn has_module(&self, sha256: &str) -> bool {
        self.modules.iter().any(|it| it.sha256 == sha256)
    }

    /// Whether this file belongs to that build, under this name.
    #[must_use]
    pub fn has_byproduct(&self, name: &str, sha256: &str) -> bool {
        let mut byproducts = self.byproducts.iter();
        byproducts.any(|it| it.name == name && it.sha256 == sha256)
    }
}

fn products(list: Option<&Value>) -> Vec<Product> {
    let list = list.and_then(Value::as_array);
    let product = |it: &Value| {
        Some(Product {
            name: it.get("name")?.as_str()?.to_owned(),
            sha256: it.pointer("/digest/sha256")?.as_str()?.to_owned(),
        })
    };
    list.into_iter().flatten().filter_map(product).collect()
}

/// DSSE's pre-authentication encoding.
fn signed_bytes(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    /// The example of the DSSE protocol's document.
    #[test]
    fn what_is_signed_is_what_the_protocol_says() {
        assert_eq!(
            super::signed_bytes("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }
}
