//! Where Kong comes from.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The image that is taken where no Kong is installed.
pub const IMAGE: &str = "kong:3.9";

/// A Kong that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The `kong` command of an installation.
    Local(PathBuf),
    /// A container of [`IMAGE`].
    Docker,
}

impl Source {
    /// `KONG_BIN`, or else Docker.
    ///
    /// # Errors
    /// When there is neither: why, and how to get one. When `KONG_BIN` names no file.
    pub fn find() -> Result<Self, Missing> {
        if let Some(path) = std::env::var_os("KONG_BIN") {
            let path = PathBuf::from(path);
            return if path.is_file() {
                Ok(Self::Local(path))
            } else {
                Err(Missing::Wrong(format!(
                    "KONG_BIN names no file: {}",
                    path.display()
                )))
            };
        }
        let docker = |arguments: &[&str]| {
            Command::new("docker")
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        if !docker(&["info"]) {
            return Err(Missing::Absent(format!(
                "KONG_BIN is not set and no Docker daemon answers. Start Docker with access to the \
                 image {IMAGE}, or set KONG_BIN to the `kong` command of a Kong 3.4 to 3.9 that has \
                 WebAssembly"
            )));
        }
        if docker(&["image", "inspect", IMAGE]) || docker(&["pull", "--quiet", IMAGE]) {
            Ok(Self::Docker)
        } else {
            Err(Missing::Absent(format!(
                "Docker cannot pull {IMAGE}. Load that image (`docker load`), or set KONG_BIN to the \
                 `kong` command of a Kong 3.4 to 3.9 that has WebAssembly"
            )))
        }
    }
}

/// There is no Kong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Nobody asked for one in particular: tests are skipped.
    Absent(String),
    /// The one that was asked for is not there: tests fail.
    Wrong(String),
}
