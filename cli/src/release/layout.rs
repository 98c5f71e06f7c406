//! Modules as OCI images, in a folder in the OCI image layout, which `skopeo` and `oras` push to a registry and pull
//! from one.
//!
//! | tag | what | for |
//! |---|---|---|
//! | `<tag>` | one layer, a tar with `plugin.wasm` and `runtime-config.json` (the Wasm image specification's *compat* variant) | Istio, Envoy Gateway |
//! | `<tag>-artifact` | two layers of their own media types, the configuration and the module (its *oci* variant) | the same |
//! | `<tag>-kong` | one layer, a tar with `<name>.wasm` and `<name>.meta.json` | a volume at Kong's `wasm_filters_path` |
//! | `<tag>-attestations` | provenance, SBOM, checksums, each a layer with its name | people and `portcullis verify` |

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::outcome::Failure;
use crate::release::files;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const TAR: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const WASM: &str = "application/vnd.module.wasm.content.layer.v1+wasm";
const WASM_CONFIG: &str = "application/vnd.module.wasm.config.v1+json";
const ATTESTATIONS: &str = "application/vnd.portcullis.attestations.v1+json";

const TITLE: &str = "org.opencontainers.image.title";
const REF: &str = "org.opencontainers.image.ref.name";
const VARIANT: &str = "module.wasm.image/variant";
/// Images that a folder may hold, at most.
const MOST_IMAGES: usize = 64;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    manifests: Vec<Descriptor>,
}

/// A file and what it is called.
pub type Named<'a> = (&'a str, &'a [u8]);

/// Writes images to a folder.
pub struct Writer {
    folder: PathBuf,
    index: Vec<Descriptor>,
    /// What every image says of itself.
    about: BTreeMap<String, String>,
}

impl Writer {
    /// Begins a folder.
    ///
    /// # Errors
    /// When there is one already, or it cannot be made.
    pub fn create(folder: &Path, about: BTreeMap<String, String>) -> Result<Self, Failure> {
        let fault = |e: std::io::Error| Failure::of_file(folder, e);
        if let Some(parent) = folder.parent() {
            std::fs::create_dir_all(parent).map_err(fault)?;
        }
        std::fs::create_dir(folder).map_err(fault)?;
        Ok(Self {
            folder: folder.to_owned(),
            index: Vec::new(),
            about,
        })
    }

    /// Adds the image with one layer, a tar of these files.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn archive(&mut self, tag: &str, compat: bool, files: &[Named<'_>]) -> Result<(), Failure> {
        let tar = tar(files).map_err(|e| Failure::of_file(&self.folder, e))?;
        let packed = gzip(&tar).map_err(|e| Failure::of_file(&self.folder, e))?;
        let config = json!({
            "architecture": "wasm",
            "os": "wasip1",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", files::sha256(&tar))] },
        });
        let config = self.blob(CONFIG, config.to_string().as_bytes())?;
        let layer = self.blob(TAR, &packed)?;
        let mut annotations = self.about.clone();
        if compat {
            annotations.insert(VARIANT.to_owned(), "compat".to_owned());
        }
        self.image(tag, None, config, vec![layer], None, annotations)
            .map(drop)
    }

    /// Adds the image with the configuration and the module as layers of their own.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn artifact(
        &mut self,
        tag: &str,
        config: Named<'_>,
        module: Named<'_>,
    ) -> Result<(), Failure> {
        let layers = vec![
            titled(self.blob(WASM_CONFIG, config.1)?, config.0),
            titled(self.blob(WASM, module.1)?, module.0),
        ];
        let config = self.blob(WASM_CONFIG, config.1)?;
        self.image(tag, None, config, layers, None, self.about.clone())
            .map(drop)
    }

    /// Adds what is said about the image with another tag: its media type, its name and its bytes, each.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn attestations(
        &mut self,
        tag: &str,
        of: &str,
        files: &[(&str, Named<'_>)],
    ) -> Result<(), Failure> {
        let mut subject = self.index.iter();
        let subject = subject
            .find(|it| it.annotations.get(REF).is_some_and(|tag| tag == of))
            .cloned()
            .map(|it| Descriptor {
                annotations: BTreeMap::new(),
                ..it
            });
        let mut layers = Vec::new();
        for (media_type, (name, bytes)) in files {
            layers.push(titled(self.blob(media_type, bytes)?, name));
        }
        let config = self.blob(EMPTY, b"{}")?;
        let kind = Some(ATTESTATIONS.to_owned());
        self.image(tag, kind, config, layers, subject, self.about.clone())
            .map(drop)
    }

    /// Makes it a layout. Without this it is none.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<(), Failure> {
        let index = Index {
            schema_version: 2,
            media_type: Some(INDEX.to_owned()),
            manifests: self.index,
        };
        files::write(&self.folder.join("index.json"), &written(&index)?)?;
        let version = json!({ "imageLayoutVersion": "1.0.0" }).to_string();
        files::write(&self.folder.join("oci-layout"), version.as_bytes())
    }

    fn image(
        &mut self,
        tag: &str,
        artifact_type: Option<String>,
        config: Descriptor,
        layers: Vec<Descriptor>,
        subject: Option<Descriptor>,
        annotations: BTreeMap<String, String>,
    ) -> Result<Descriptor, Failure> {
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST.to_owned()),
            artifact_type,
            config,
            layers,
            subject,
            annotations,
        };
        let mut descriptor = self.blob(MANIFEST, &written(&manifest)?)?;
        descriptor
            .annotations
            .insert(REF.to_owned(), tag.to_owned());
        self.index.push(descriptor.clone());
        Ok(descriptor)
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, Failure> {
        let sha256 = files::sha256(bytes);
        files::write(&self.folder.join("blobs/sha256").join(&sha256), bytes)?;
        Ok(Descriptor {
            media_type: media_type.to_owned(),
            digest: format!("sha256:{sha256}"),
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            annotations: BTreeMap::new(),
        })
    }
}

/// What an image of a folder holds.
#[derive(Debug)]
pub struct Image {
    /// Its tag, if the folder says so.
    pub tag: String,
    /// Its files and what they are called.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Image {
    /// Its modules: what they are called, and their bytes.
    pub fn modules(&self) -> impl Iterator<Item = Named<'_>> {
        let wasm = |(name, _): &&(String, Vec<u8>)| {
            Path::new(name).extension().is_some_and(|it| it == "wasm")
        };
        self.files
            .iter()
            .filter(wasm)
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }
}

/// Reads every image of a folder in the OCI image layout, as Istio and Envoy Gateway would, and checks every digest.
///
/// # Errors
/// When it is no such folder, something is missing, or something is not what its digest says.
pub fn read(folder: &Path) -> Result<Vec<Image>, Failure> {
    let fault = |why: &str| Failure::of_file(folder, why);
    let version: Value = parsed(folder, &files::read(&folder.join("oci-layout"))?)?;
    if version.get("imageLayoutVersion").and_then(Value::as_str) != Some("1.0.0") {
        return Err(fault("not the OCI image layout, version 1.0.0"));
    }
    let index: Index = parsed(folder, &files::read(&folder.join("index.json"))?)?;
    if index.manifests.is_empty() || index.manifests.len() > MOST_IMAGES {
        return Err(fault("no images, or too many"));
    }
    let images = index.manifests.iter();
    images.map(|descriptor| image(folder, descriptor)).collect()
}

fn image(folder: &Path, descriptor: &Descriptor) -> Result<Image, Failure> {
    let tag = descriptor.annotations.get(REF).cloned().unwrap_or_default();
    let fault = |why: String| Failure::of_file(folder, format!("image {tag:?}: {why}"));
    let manifest: Manifest = parsed(folder, &blob(folder, descriptor)?)?;
    blob(folder, &manifest.config)?;
    let mut files = Vec::new();
    for layer in &manifest.layers {
        let bytes = blob(folder, layer)?;
        if layer.media_type == TAR {
            files.extend(untar(&bytes).map_err(|e| fault(e.to_string()))?);
        } else {
            let title = layer.annotations.get(TITLE).cloned();
            files.push((title.unwrap_or_else(|| "plugin.wasm".to_owned()), bytes));
        }
    }
    Ok(Image { tag, files })
}

fn blob(folder: &Path, descriptor: &Descriptor) -> Result<Vec<u8>, Failure> {
    let fault = || {
        Failure::of_file(
            folder,
            format!("{:?} is not what it is called", descriptor.digest),
        )
    };
    let sha256 = descriptor
        .digest
        .strip_prefix("sha256:")
        .ok_or_else(fault)?;
    if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(fault());
    }
    let bytes = files::read(&folder.join("blobs/sha256").join(sha256))?;
    let same = files::sha256(&bytes) == sha256 && u64::try_from(bytes.len()) == Ok(descriptor.size);
    same.then_some(bytes).ok_or_else(fault)
}

fn parsed<T: serde::de::DeserializeOwned>(folder: &Path, bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|e| Failure::of_file(folder, e))
}

fn written(value: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value).map_err(|e| Failure::new(e.to_string()))
}

fn titled(mut descriptor: Descriptor, name: &str) -> Descriptor {
    descriptor
        .annotations
        .insert(TITLE.to_owned(), name.to_owned());
    descriptor
}

/// The same bytes for the same files: no times, no owners.
fn tar(files: &[Named<'_>]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        header.set_mode(0o644);
        header.set_mtime(0);
        archive.append_data(&mut header, name, *bytes)?;
    }
    archive.into_inner()
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    std::io::Write::write_all(&mut encoder, bytes)?;
    encoder.finish()
}

/// The files of a packed tar, of at most [`files::LARGEST`] bytes together.
fn untar(packed: &[u8]) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut tar = Vec::new();
    let limit = files::LARGEST.saturating_add(1);
    GzDecoder::new(packed).take(limit).read_to_end(&mut tar)?;
    if u64::try_from(tar.len()).is_ok_and(|size| size > files::LARGEST) {
        return Err(std::io::Error::other("more than 64 MiB"));
    }
    let mut archive = tar::Archive::new(Cursor::new(tar));
    let mut files = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let path = entry.path()?.into_owned();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            files.push((name, bytes));
        }
    }
    Ok(files)
}
