//! Ed25519 keys in PEM (RFC 8410), as `openssl genpkey -algorithm ed25519` makes them. A secret key is never shown:
//! not in an error, not with `{:?}`.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::Args;
use wasmsign2 as wasm;
use zeroize::Zeroizing;

use crate::outcome::Failure;
use crate::release::files;

const NO_SECRET: &str = "not an Ed25519 private key in PEM (PKCS #8)";
const NO_PUBLIC: &str = "not an Ed25519 public key in PEM";

/// Where the signing key comes from. It is no argument itself: what is on a command line is seen by all.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct KeySource {
    /// The signing key: a file that nobody else may read.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The name of an environment variable that holds the signing key.
    #[arg(long, value_name = "NAME")]
    key_env: Option<String>,
}

impl KeySource {
    /// Takes the key from there.
    ///
    /// # Errors
    /// When there is none, it is no key, or others may read its file.
    pub fn load(&self) -> Result<SecretKey, Failure> {
        match (&self.key, &self.key_env) {
            (Some(path), _) => {
                let found = std::fs::metadata(path).map_err(|e| Failure::of_file(path, e))?;
                if found.is_file() && found.mode() & 0o077 != 0 {
                    return Err(Failure::of_file(
                        path,
                        "others may read this key: chmod 600, and think about who did",
                    ));
                }
                let pem = Zeroizing::new(files::read_text(path)?);
                SecretKey::from_pem(&pem).ok_or_else(|| Failure::of_file(path, NO_SECRET))
            }
            (None, Some(name)) => {
                let pem = std::env::var(name)
                    .map(Zeroizing::new)
                    .map_err(|_| Failure::new(format!("${name} is not set")))?;
                SecretKey::from_pem(&pem)
                    .ok_or_else(|| Failure::new(format!("${name}: {NO_SECRET}")))
            }
            (None, None) => Err(Failure::new("no key was given")),
        }
    }
}

/// What signs.
pub struct SecretKey(wasm::SecretKey);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.public().id())
    }
}

impl SecretKey {
    /// A new one, from the system's random numbers.
    #[must_use]
    pub fn generate() -> Self {
        Self(wasm::KeyPair::generate().sk)
    }

    /// None if it is no key.
    #[must_use]
    pub fn from_pem(pem: &str) -> Option<Self> {
        wasm::SecretKey::from_pem(pem).ok().map(Self)
    }

    /// The key that checks what this one signs.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::new(wasm::PublicKey {
            pk: self.0.sk.public_key(),
            key_id: None,
        })
    }

    /// Signs bytes.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        self.0.sk.sign(bytes, None).to_vec()
    }

    /// Adds a signature of everything in the module that a delimiter closes.
    ///
    /// # Errors
    /// What the signing crate says.
    pub fn sign_module(&self, module: wasm::Module) -> Result<wasm::Module, wasm::WSError> {
        let id = self.public().0.key_id;
        let signed = self.0.sign_multi(module, id.as_ref(), false, true)?;
        Ok(signed.0)
    }

    /// Writes it to a new file that only its owner may read.
    ///
    /// # Errors
    /// When there is such a file already, or it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Failure> {
        let fault = |e: std::io::Error| Failure::of_file(path, e);
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(fault)?;
        let pem = Zeroizing::new(self.0.to_pem());
        file.write_all(pem.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(fault)
    }
}

/// What checks signatures. Its id is 12 bytes that follow from the key (`wasmsign2`'s default).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(wasm::PublicKey);

impl PublicKey {
    fn new(key: wasm::PublicKey) -> Self {
        Self(key.attach_default_key_id())
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it is none, or a weak one.
    pub fn from_pem(pem: &str) -> Result<Self, &'static str> {
        let key = wasm::PublicKey::from_pem(pem).map_err(|_| NO_PUBLIC)?;
        key.pk.validate().map_err(|_| "a weak public key")?;
        Ok(Self::new(key))
    }

    #[must_use]
    pub fn to_pem(&self) -> String {
        self.0.to_pem()
    }

    /// In hexadecimal.
    #[must_use]
    pub fn id(&self) -> String {
        files::hex(self.id_bytes())
    }

    #[must_use]
    pub fn id_bytes(&self) -> &[u8] {
        self.0.key_id().map_or(&[], Vec::as_slice)
    }

    /// Whether this key's partner has signed these bytes.
    #[must_use]
    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        ed25519_compact::Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.pk.verify(bytes, &signature).is_ok())
    }

    /// Whether this key's partner has signed every section of the module.
    #[must_use]
    pub fn verifies_module(&self, bytes: &[u8]) -> bool {
        let mut reader = bytes;
        self.0.verify_multi(&mut reader, None, |_| true).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::SecretKey;

    #[test]
    fn a_secret_key_does_not_show_itself() {
        let key = SecretKey::generate();
        let pem = key.0.to_pem();
        let secret: String = pem.lines().nth(1).unwrap().to_owned();
        let shown = format!("{key:?} {:#?}", Some(&key));
        assert!(!shown.contains(&secret));
        assert!(!shown.contains(&super::files::hex(key.0.sk.as_ref())));
        assert!(shown.contains(&key.public().id()));
    }

    #[test]
    fn keys_survive_pem() {
        let key = SecretKey::generate();
        let again = SecretKey::from_pem(&key.0.to_pem()).unwrap();
        assert_eq!(again.public(), key.public());
        let signature = again.sign(b"text");
        assert!(key.public().verifies(b"text", &signature));
        assert!(!key.public().verifies(b"texT", &signature));
        assert!(!SecretKey::generate().public().verifies(b"text", &signature));
    }
}
