//! An image from its parts.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context as _;
use oci_spec::image::{
    ANNOTATION_CREATED, ANNOTATION_DESCRIPTION, ANNOTATION_LICENSES, ANNOTATION_REF_NAME, ANNOTATION_REVISION,
    ANNOTATION_SOURCE, ANNOTATION_TITLE, ANNOTATION_URL, ANNOTATION_VERSION, Arch, ConfigBuilder, Descriptor,
    DescriptorBuilder, ImageConfigurationBuilder, ImageIndex, ImageIndexBuilder, ImageManifest, ImageManifestBuilder,
    MediaType, Os, Platform, PlatformBuilder, RootFsBuilder,
};
use serde::Serialize;

use crate::certificates;
use crate::layer::{File, Layer};
use crate::layout::Layout;
use crate::project::{Controller, Form, Revision};
use crate::provenance::{self, Build, Statement};
use crate::sbom::{self, Bom};

/// What is in the image of one architecture.
#[derive(Debug)]
pub struct Part {
    /// The machine.
    pub architecture: Arch,
    /// The program.
    pub program: Vec<u8>,
    /// The licences of all that others wrote.
    pub third_party: String,
    /// What it is made of.
    pub bom: Bom,
}

/// What is the same for every architecture.
#[derive(Debug)]
pub struct Common<'a> {
    /// The controller.
    pub controller: &'a Controller,
    /// Its commit.
    pub revision: &'a Revision,
    /// The licence of the workspace.
    pub license: &'a str,
    /// The notice that goes with the licence.
    pub notice: &'a str,
    /// The name of the image in the layout.
    pub tag: &'a str,
    /// What the builds were, where they are known.
    pub origin: Option<Origin<'a>>,
}

/// How the programs were built.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// `Cargo.lock`.
    pub lock: &'a [u8],
    /// What the compiler says that it is.
    pub compiler: &'a str,
    /// Who builds, a URI.
    pub builder: &'a str,
}

/// What was assembled.
#[derive(Debug)]
pub struct Image {
    /// The digest of the index of all architectures.
    pub digest: String,
    /// The image of each.
    pub images: Vec<Sizes>,
}

/// The size of the image of one architecture, in bytes.
#[derive(Debug)]
pub struct Sizes {
    /// The machine.
    pub architecture: Arch,
    /// All that is pulled: manifest, configuration and layers.
    pub compressed: u64,
    /// The layer with certificates and licences.
    pub data_layer: u64,
    /// The layer with the program.
    pub program_layer: u64,
    /// The program.
    pub program: u64,
}

/// The C library keeps what was freed apart for many threads; in one place it is used again, and a large cluster takes a sixth less
/// memory.
const ALLOCATOR: &str = "MALLOC_ARENA_MAX=1";

/// Writes the image of every part, what is known about each, and the index of them.
///
/// # Errors
/// When the layout cannot be written.
pub fn assemble(layout: &Layout, common: &Common<'_>, parts: &[Part]) -> anyhow::Result<Image> {
    let annotations = annotations(common);
    let (mut manifests, mut referrers, mut images) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        let (manifest, sizes) = image(layout, common, part, &annotations)?;
        referrers.extend(attached(layout, common, part, &manifest)?);
        manifests.push(manifest);
        images.push(sizes);
    }
    let index = index(manifests).annotations(annotations).build().context("make the index")?;
    let mut named = layout.put_json(MediaType::ImageIndex, &index)?;
    let digest = named.digest().to_string();
    named.set_annotations(Some(HashMap::from([(ANNOTATION_REF_NAME.to_owned(), common.tag.to_owned())])));
    let all = std::iter::once(named).chain(referrers).collect();
    layout.finish(&self::index(all).build().context("make the index of the layout")?)?;
    Ok(Image { digest, images })
}

pub(crate) fn index(manifests: Vec<Descriptor>) -> ImageIndexBuilder {
    ImageIndexBuilder::default().schema_version(2_u32).media_type(MediaType::ImageIndex).manifests(manifests)
}

fn image(
    layout: &Layout,
    common: &Common<'_>,
    part: &Part,
    annotations: &HashMap<String, String>,
) -> anyhow::Result<(Descriptor, Sizes)> {
    let settings = &common.controller.settings;
    // What changes seldom is below: a new version of the program brings one new layer.
    let licences = format!("usr/share/licenses/{}", settings.binary);
    let data = Layer::new(&BTreeMap::from([
        (certificates::PATH.to_owned(), File::data(certificates::bundle())),
        (format!("{licences}/LICENSE"), File::data(common.license)),
        (format!("{licences}/NOTICE"), File::data(common.notice)),
        (format!("{licences}/THIRD-PARTY"), File::data(part.third_party.as_str())),
    ]))?;
    let path = settings.path.trim_start_matches('/').to_owned();
    let program = Layer::new(&BTreeMap::from([(path, File::program(part.program.as_slice()))]))?;
    let config = configuration(layout, common, part, annotations, &[&data, &program])?;
    let layers = [&data, &program]
        .map(|layer| layout.put(MediaType::ImageLayerGzip, &layer.compressed))
        .into_iter()
        .collect::<anyhow::Result<Vec<_>>>()?;
    let (data_layer, program_layer) = (layers[0].size(), layers[1].size());
    let layers_size: u64 = layers.iter().map(Descriptor::size).sum();
    let config_size = config.size();
    let manifest = manifest(config, layers).annotations(annotations.clone()).build().context("make a manifest")?;
    let mut manifest = layout.put_json(MediaType::ImageManifest, &manifest)?;
    let sizes = Sizes {
        architecture: part.architecture.clone(),
        compressed: manifest.size() + config_size + layers_size,
        data_layer,
        program_layer,
        program: u64::try_from(part.program.len()).context("a program too large")?,
    };
    manifest.set_platform(Some(platform(&part.architecture)?));
    Ok((manifest, sizes))
}

pub(crate) fn manifest(config: Descriptor, layers: Vec<Descriptor>) -> ImageManifestBuilder {
    ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .config(config)
        .layers(layers)
}

fn platform(architecture: &Arch) -> anyhow::Result<Platform> {
    let platform = PlatformBuilder::default().os(Os::Linux).architecture(architecture.clone());
    platform.build().context("make a platform")
}

fn configuration(
    layout: &Layout,
    common: &Common<'_>,
    part: &Part,
    labels: &HashMap<String, String>,
    layers: &[&Layer],
) -> anyhow::Result<Descriptor> {
    let settings = &common.controller.settings;
    let config =
        ConfigBuilder::default().user(settings.user.clone()).labels(labels.clone()).env([ALLOCATOR.to_owned()]);
    let program = vec![settings.path.clone()];
    let config = match settings.form {
        Form::Entrypoint => config.entrypoint(program),
        Form::Cmd => config.cmd(program),
    };
    let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let rootfs = RootFsBuilder::default().typ("layers").diff_ids(diff_ids).build().context("list the layers")?;
    let configuration = ImageConfigurationBuilder::default()
        .created(common.revision.time.to_string())
        .os(Os::Linux)
        .architecture(part.architecture.clone())
        .config(config.build().context("make a configuration")?)
        .rootfs(rootfs)
        .build()
        .context("make a configuration")?;
    layout.put_json(MediaType::ImageConfig, &configuration)
}

/// What is known about an image, as manifests of their own that refer to it.
fn attached(layout: &Layout, common: &Common<'_>, part: &Part, image: &Descriptor) -> anyhow::Result<Vec<Descriptor>> {
    let mut made = vec![attach(layout, image, sbom::MEDIA_TYPE, &part.bom, &HashMap::new())?];
    if let Some(origin) = &common.origin {
        let build = Build {
            controller: common.controller,
            revision: common.revision,
            architecture: &part.architecture,
            lock: origin.lock,
            compiler: origin.compiler,
            builder: origin.builder,
        };
        let statement = Statement::new(&build, image, &part.program);
        let kind = HashMap::from([("in-toto.io/predicate-type".to_owned(), provenance::PREDICATE.to_owned())]);
        made.push(attach(layout, image, provenance::MEDIA_TYPE, &statement, &kind)?);
    }
    Ok(made)
}

fn attach(
    layout: &Layout,
    image: &Descriptor,
    kind: &str,
    document: &impl Serialize,
    annotations: &HashMap<String, String>,
) -> anyhow::Result<Descriptor> {
    let kind = MediaType::from(kind);
    let empty = layout.put(MediaType::EmptyJSON, b"{}")?;
    let content = layout.put_json(kind.clone(), document)?;
    let subject = Descriptor::new(image.media_type().clone(), image.size(), image.digest().clone());
    let manifest: ImageManifest = manifest(empty, vec![content])
        .artifact_type(kind.clone())
        .subject(subject)
        .annotations(annotations.clone())
        .build()
        .context("make a manifest")?;
    let stored = layout.put_json(MediaType::ImageManifest, &manifest)?;
    DescriptorBuilder::default()
        .media_type(stored.media_type().clone())
        .digest(stored.digest().clone())
        .size(stored.size())
        .artifact_type(kind)
        .annotations(annotations.clone())
        .build()
        .context("describe a manifest")
}

/// Labels of the configuration, and annotations of manifest and index: the same.
fn annotations(common: &Common<'_>) -> HashMap<String, String> {
    let controller = common.controller;
    [
        (ANNOTATION_CREATED, common.revision.time.to_string()),
        (ANNOTATION_DESCRIPTION, controller.description.clone()),
        (ANNOTATION_LICENSES, controller.license.clone()),
        (ANNOTATION_REVISION, common.revision.describe()),
        (ANNOTATION_SOURCE, controller.repository.clone()),
        (ANNOTATION_TITLE, controller.settings.binary.clone()),
        (ANNOTATION_URL, controller.repository.clone()),
        (ANNOTATION_VERSION, controller.version.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// The images of every architecture, by the index that the layout names.
///
/// # Errors
/// When the layout is not one of ours.
pub fn index_of(layout: &Layout) -> anyhow::Result<(Descriptor, ImageIndex)> {
    let named = layout.index()?.manifests().iter().find(|one| tag_of(one).is_some()).cloned();
    let named = named.context("the layout names no image")?;
    let index = layout.get_json(&named)?;
    Ok((named, index))
}

/// What refers to an image in its layout and is of this kind.
///
/// # Errors
/// When the layout is damaged.
pub fn document_about(layout: &Layout, image: &Descriptor, kind: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let kind = MediaType::from(kind);
    let index = layout.index()?;
    for referrer in index.manifests().iter().filter(|one| one.artifact_type().as_ref() == Some(&kind)) {
        let manifest: ImageManifest = layout.get_json(referrer)?;
        let subject = manifest.subject().as_ref().map(Descriptor::digest);
        if let (true, [content]) = (subject == Some(image.digest()), manifest.layers().as_slice()) {
            return layout.get(content).map(Some);
        }
    }
    Ok(None)
}

/// The name of an image in its layout.
pub fn tag_of(descriptor: &Descriptor) -> Option<&String> {
    descriptor.annotations().as_ref()?.get(ANNOTATION_REF_NAME)
}
