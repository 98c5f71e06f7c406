//! What a gateway is asked with: from files or from the environment, never from the command line, and shown nowhere.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::outcome::Failure;
use crate::release::files;

/// Each is a file of the folder, and a variable of the environment.
const NAMES: [&str; 5] = [
    "token",
    "expired-token",
    "wrong-issuer-token",
    "wrong-audience-token",
    "api-key",
];

#[derive(Default)]
pub struct Credentials(BTreeMap<&'static str, String>);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// `wrong-issuer-token` is `PORTCULLIS_WRONG_ISSUER_TOKEN`.
pub fn variable(name: &str) -> String {
    format!("PORTCULLIS_{}", name.to_ascii_uppercase().replace('-', "_"))
}

impl Credentials {
    /// Those of a folder, and of the environment where the folder has none.
    pub fn read(folder: Option<&Path>) -> Result<Self, Failure> {
        let mut found = BTreeMap::new();
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(Failure::of_file(folder, "is no folder"));
        }
        for name in NAMES {
            let file = folder
                .map(|folder| folder.join(name))
                .filter(|file| file.exists());
            let text = match file {
                Some(file) => Some(files::read_text(&file)?),
                None => std::env::var(variable(name)).ok(),
            };
            let text = text.map(|text| text.trim().to_owned());
            let Some(text) = text.filter(|text| !text.is_empty()) else {
                continue;
            };
            if !text.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(Failure::new(format!(
                    "the {name} is none: it has blanks, or what is no ASCII"
                )));
            }
            found.insert(name, text);
        }
        Ok(Self(found))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// The token with another header, that says that nobody signed it.
pub fn unsigned(token: Option<&str>) -> String {
    let header = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let own = token
        .and_then(|token| token.split('.').nth(1))
        .map(str::to_owned);
    let claims = own.unwrap_or_else(|| {
        BASE64_URL_SAFE_NO_PAD.encode(r#"{"iss":"x","aud":"x","sub":"x","exp":4102444800}"#)
    });
    format!("{header}.{claims}.")
}

/// The token with a signature of which one byte is another. `None` if it is no signed token.
pub fn tampered(token: &str) -> Option<String> {
    let (signed, signature) = token.rsplit_once('.')?;
    let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
    let middle = bytes.len().checked_div(2)?;
    let byte = bytes.get_mut(middle)?;
    *byte ^= 1;
    Some(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgeries_differ_in_one_thing() {
        let token = "aGVhZA.Y2xhaW1z.c2lnbmF0dXJl";
        let forged = tampered(token).unwrap();
        assert!(forged.starts_with("aGVhZA.Y2xhaW1z.") && forged != token);
        assert_eq!(tampered(&forged).as_deref(), Some(token));
        assert_eq!(tampered("no-token"), None);
        assert!(unsigned(Some(token)).ends_with(".Y2xhaW1z."));
        assert_eq!(unsigned(None).split('.').count(), 3);
        assert_eq!(
            variable("wrong-issuer-token"),
            "PORTCULLIS_WRONG_ISSUER_TOKEN"
        );
    }
}
