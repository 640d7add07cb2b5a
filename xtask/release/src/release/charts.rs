//! The chart of a release, which comes before the image's name: it has the image by its digest.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use oci_spec::image::{Descriptor, ImageManifest};

use super::{Args, Release, replace};
use crate::chart::{self, Chart};
use crate::cosign;
use crate::layout::Layout;
use crate::project::Controller;
use crate::push::Target;
use crate::registry::Registry;
use crate::registry::credentials::Credentials;

/// Where a chart is, and where it goes.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    pub(super) to: Target,
    registry: Registry,
}

impl Place {
    pub(super) fn find(controller: &Controller, image: &Target, args: &Args) -> anyhow::Result<Option<Self>> {
        let Some(folder) = chart::folder(controller) else { return Ok(None) };
        let image = image.place();
        let beside = image.rsplit_once('/').map_or(image.as_str(), |(above, _)| above);
        let charts = args.charts.clone().unwrap_or_else(|| format!("{beside}/charts"));
        let to = Target::parse(&format!("{charts}/{}", chart::name(&folder)?), &args.version)?;
        let registry = to.open(args.plain_http, Credentials::find(to.registry())?)?;
        Ok(Some(Self { folder, to, registry }))
    }
}

/// A chart that nobody has brought to the version of its crate is found before anything is built.
pub(super) fn check_version(release: &Release) -> anyhow::Result<()> {
    release.chart.as_ref().map_or(Ok(()), |place| chart::check(&place.folder, &release.version))
}

pub(super) fn describe(release: &Release, what: &str) -> String {
    release.chart.as_ref().map_or_else(|| "there is no chart".to_owned(), |chart| format!("{what} {}", chart.to))
}

/// Where the chart is kept as a layout.
fn layout(release: &Release) -> PathBuf {
    release.folder.join("chart")
}

/// Where its signature is kept.
fn signature(release: &Release) -> PathBuf {
    release.folder.join("chart-signature")
}

pub(super) fn pack(release: &mut Release) -> anyhow::Result<String> {
    let Some(packed) = packed(release)? else { return Ok("none".to_owned()) };
    replace(&layout(release), |folder| packed.write(&Layout::create(folder)?, &release.project.revision))?;
    Ok(chart::in_layout(&Layout::open(&layout(release))?)?.digest().to_string())
}

/// The chart with the image of this release in it.
pub(super) fn packed(release: &Release) -> anyhow::Result<Option<Chart>> {
    let Some(place) = &release.chart else { return Ok(None) };
    Chart::pack(&place.folder, &release.version, &release.to.place(), release.digest()?).map(Some)
}

/// The chart's manifest; none without a chart, or before it is packed.
pub(super) fn stored(release: &Release) -> anyhow::Result<Option<Descriptor>> {
    let path = layout(release);
    if release.chart.is_none() || !path.exists() {
        return Ok(None);
    }
    chart::in_layout(&Layout::open(&path)?).map(Some)
}

pub(super) fn sign(release: &Release, key: &cosign::key::Key) -> anyhow::Result<()> {
    let (Some(chart), Some(place)) = (stored(release)?, &release.chart) else { return Ok(()) };
    replace(&signature(release), |folder| {
        let layout = Layout::create(folder)?;
        let signature = cosign::signature(&layout, key, &place.to.place(), &chart)?;
        cosign::finish(&layout, &[signature])
    })
}

/// What the chart's name names in the registry; an error where it names another chart than that of this release.
pub(super) async fn check_free(release: &mut Release) -> anyhow::Result<()> {
    let ours = stored(release)?.map(|chart| chart.digest().to_string());
    let Some(place) = &mut release.chart else { return Ok(()) };
    match place.registry.digest_of(place.to.tag()).await? {
        Some(digest) if Some(&digest) != ours.as_ref() => {
            bail!("{} is released already, as {digest}; nothing is overwritten", place.to)
        }
        _ => Ok(()),
    }
}

/// Everything but its name.
pub(super) async fn upload(release: &mut Release) -> anyhow::Result<()> {
    let (path, signed) = (layout(release), signature(release));
    let (Some(chart), Some(place)) = (stored(release)?, &mut release.chart) else { return Ok(()) };
    let layout = Layout::open(&path)?;
    let manifest: ImageManifest = layout.get_json(&chart)?;
    for blob in manifest.layers().iter().chain([manifest.config()]) {
        if !place.registry.has_blob(blob).await? {
            place.registry.put_blob(blob, &Bytes::from(layout.get(blob)?), |_| ()).await?;
        }
    }
    place.registry.put_manifest(chart.digest().as_ref(), chart.media_type(), &layout.get(&chart)?).await?;
    cosign::push(&Layout::open(&signed)?, &mut place.registry).await
}

pub(super) async fn name(release: &mut Release) -> anyhow::Result<String> {
    // Once more: uploads take their time.
    check_free(release).await?;
    let (path, chart) = (layout(release), stored(release)?);
    let (Some(chart), Some(place)) = (chart, &mut release.chart) else { return Ok("none".to_owned()) };
    let bytes = Layout::open(&path)?.get(&chart)?;
    place.registry.put_manifest(place.to.tag(), chart.media_type(), &bytes).await.context("name the chart")?;
    Ok(format!("{}@{}", place.to, chart.digest()))
}
