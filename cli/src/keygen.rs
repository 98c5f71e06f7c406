//! `portcullis keygen`: a pair of keys.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::outcome::{Failure, Outcome};
use crate::release::files;
use crate::release::keys::SecretKey;

/// Make a pair of Ed25519 keys: NAME.key, which only you may read, and NAME.pub
#[derive(Debug, Args)]
pub struct Keygen {
    /// Where, without the ending. Nothing that is there is overwritten.
    name: PathBuf,
}

#[derive(Serialize)]
struct Made {
    secret: PathBuf,
    public: PathBuf,
    key_id: String,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key {}", self.key_id)?;
        writeln!(f, "  {}  signs; keep it secret", self.secret.display())?;
        writeln!(f, "  {}  goes into the policy", self.public.display())
    }
}

impl Keygen {
    pub fn run(self) -> Result<Outcome, Failure> {
        let with = |ending: &str| {
            let mut path = self.name.clone().into_os_string();
            path.push(ending);
            PathBuf::from(path)
        };
        let made = Made {
            secret: with(".key"),
            public: with(".pub"),
            key_id: String::new(),
        };
        if made.public.exists() {
            return Err(Failure::of_file(&made.public, "is there already"));
        }
        let key = SecretKey::generate();
        key.save(&made.secret)?;
        let public = key.public();
        files::write(&made.public, public.to_pem().as_bytes())?;
        let key_id = public.id();
        Outcome::new(&Made { key_id, ..made }, true)
    }
}
