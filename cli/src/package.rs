//! `portcullis package`: OCI images of modules that an environment trusts.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::json;

use crate::outcome::{Failure, Outcome};
use crate::release::files;
use crate::release::layout::{Named, Writer};
use crate::release::module::Signed;
use crate::release::provenance::Provenance;
use crate::release::statement::{Release, Target};
use crate::release::term::now;
use crate::release::trust::{Asked, Policy, Verdict};
use crate::sign::named;
use crate::verify::{CHECKSUMS, PROVENANCE};

const CYCLONEDX: &str = "application/vnd.cyclonedx+json";
const DSSE: &str = "application/vnd.dsse.envelope.v1+json";

/// Make OCI images of modules that an environment trusts, one folder in the OCI image layout for each name
#[derive(Debug, Args)]
pub struct Package {
    /// Signed modules, for Envoy, for Kong or both.
    #[arg(required = true, value_name = "WASM")]
    modules: Vec<PathBuf>,
    /// Which signatures which environment needs.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The environment that is to run them.
    #[arg(long)]
    environment: String,
    /// The tag of the images; those of other variants have it with an ending.
    #[arg(long, value_parser = tag)]
    tag: String,
    /// The signed provenance.
    #[arg(long, value_name = "FILE")]
    provenance: PathBuf,
    /// The folder with <name>.cdx.json, the SBOM of each module.
    #[arg(long, value_name = "FOLDER")]
    sbom: PathBuf,
    /// The folder with <name>.meta.json, what Kong reads about each module.
    #[arg(long, value_name = "FOLDER")]
    meta: PathBuf,
    /// Where the layouts go: <out>/<name>.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Report {
    /// What stands in the way, module by module.
    refused: Vec<Verdict>,
    layouts: Vec<Layout>,
}

#[derive(Serialize)]
struct Layout {
    folder: PathBuf,
    tags: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for verdict in &self.refused {
            verdict.fmt(f)?;
        }
        for layout in &self.layouts {
            writeln!(f, "{}: {}", layout.folder.display(), layout.tags.join(", "))?;
        }
        Ok(())
    }
}

/// What is in one layout.
#[derive(Default)]
struct Content {
    envoy: Option<Signed>,
    kong: Option<Signed>,
}

impl Package {
    pub fn run(self) -> Result<Outcome, Failure> {
        let policy = Policy::load(&self.policy)?;
        let provenance = files::read(&self.provenance)?;
        let known = Provenance::open(&provenance, &policy, now())
            .map_err(|why| Failure::of_file(&self.provenance, why))?;
        let mut report = Report {
            refused: Vec::new(),
            layouts: Vec::new(),
        };
        let mut contents: BTreeMap<String, Content> = BTreeMap::new();
        for path in &self.modules {
            let (name, _) = named(path)?;
            let bytes = files::read(path)?;
            let asked = Asked {
                source: path.display().to_string(),
                environment: &self.environment,
                at: now(),
                name: Some(&name),
                gateway: None,
            };
            let mut verdict = policy.judge(&bytes, &asked, false)?;
            if let Some(code) = &verdict.code_sha256
                && !known.has_module(code)
            {
                verdict.problem(
                    "wrong_provenance",
                    "the provenance is of another build".to_owned(),
                );
            }
            if !verdict.trusted {
                report.refused.push(verdict);
                continue;
            }
            let signed = Signed::parse(&bytes).map_err(|flaw| Failure::of_file(path, flaw))?;
            let content = contents.entry(name).or_default();
            let place = match signed.release.gateway {
                Target::Envoy => &mut content.envoy,
                Target::Kong => &mut content.kong,
            };
            if place.replace(signed).is_some() {
                return Err(Failure::of_file(
                    path,
                    "the second with this name for this gateway",
                ));
            }
        }
        if report.refused.is_empty() {
            for (name, content) in &contents {
                report
                    .layouts
                    .push(self.layout(name, content, &known, &provenance)?);
            }
        }
        let good = report.refused.is_empty();
        Outcome::new(&report, good)
    }

    fn layout(
        &self,
        name: &str,
        content: &Content,
        known: &Provenance,
        provenance: &[u8],
    ) -> Result<Layout, Failure> {
        let belonging = |folder: &Path, file: &str| {
            let path = folder.join(file);
            let bytes = files::read(&path)?;
            match known.has_byproduct(file, &files::sha256(&bytes)) {
                true => Ok(bytes),
                false => Err(Failure::of_file(&path, "the provenance does not know it")),
            }
        };
        let folder = self.out.join(name);
        let (sbom_name, meta_name) = (format!("{name}.cdx.json"), format!("{name}.meta.json"));
        let sbom = belonging(&self.sbom, &sbom_name)?;
        let file = format!("{name}.wasm");
        let mut sums = format!(
            "{}  {sbom_name}\n{}  {PROVENANCE}\n",
            files::sha256(&sbom),
            files::sha256(provenance)
        );
        let of = [&content.envoy, &content.kong].into_iter().flatten().next();
        let about = of.map(|signed| about(&signed.release)).unwrap_or_default();
        let mut writer = Writer::create(&folder, about)?;
        let mut tags = Vec::new();
        let mut tagged = |ending: &str| {
            let tag = format!("{}{ending}", self.tag);
            tags.push(tag.clone());
            tag
        };
        if let Some(module) = &content.envoy {
            let config = json!({ "type": "envoy_proxy", "abiVersions": ["0.2.1"], "config": { "rootIds": [name] } });
            let config = config.to_string();
            let config: Named<'_> = ("runtime-config.json", config.as_bytes());
            writer.archive(
                &tagged(""),
                true,
                &[("plugin.wasm", module.bytes()), config],
            )?;
            writer.artifact(&tagged("-artifact"), config, (&file, module.bytes()))?;
            sums.push_str(&format!("{}  {file}\n", files::sha256(module.bytes())));
        }
        let subject = if content.envoy.is_some() { "" } else { "-kong" };
        let mut attached: Vec<(&str, Named<'_>)> = vec![
            (DSSE, (PROVENANCE, provenance)),
            (CYCLONEDX, (&sbom_name, &sbom)),
        ];
        let meta;
        if let Some(module) = &content.kong {
            meta = belonging(&self.meta, &meta_name)?;
            writer.archive(
                &tagged("-kong"),
                false,
                &[(&file, module.bytes()), (&meta_name, &meta)],
            )?;
            sums.push_str(&format!(
                "{}  kong/{file}\n{}  kong/{meta_name}\n",
                files::sha256(module.bytes()),
                files::sha256(&meta)
            ));
            attached.push(("application/json", (&meta_name, &meta)));
        }
        attached.push(("text/plain", (CHECKSUMS, sums.as_bytes())));
        let subject = format!("{}{subject}", self.tag);
        writer.attestations(&tagged("-attestations"), &subject, &attached)?;
        writer.finish()?;
        Ok(Layout { folder, tags })
    }
}

fn about(release: &Release) -> BTreeMap<String, String> {
    let all = [
        ("title", Some(&release.module)),
        ("version", Some(&release.version)),
        ("revision", release.commit.as_ref()),
    ];
    all.into_iter()
        .filter_map(|(key, value)| {
            Some((format!("org.opencontainers.image.{key}"), value?.clone()))
        })
        .collect()
}

/// What registries take, with room for an ending.
fn tag(text: &str) -> Result<String, String> {
    let fits = (1..=100).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    fits.then(|| text.to_owned())
        .ok_or_else(|| "1 to 100 of A-Z a-z 0-9 . _ -, not beginning with . or -".to_owned())
}
