//! The folder that the OCI image layout specifies: blobs by their digests, and an index of what they are for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use oci_spec::image::{Descriptor, Digest, ImageIndex, MediaType};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::layer::digest;

/// A layout on disk.
#[derive(Debug, Clone)]
pub struct Layout(PathBuf);

impl Layout {
    /// Begins one in an empty folder.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder.join("blobs/sha256")).with_context(|| format!("create {}", folder.display()))?;
        write(&folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(Self(folder.to_owned()))
    }

    /// One that exists.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        if !folder.join("oci-layout").is_file() {
            bail!("{} is no OCI layout", folder.display());
        }
        Ok(Self(folder.to_owned()))
    }

    /// Stores a blob.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, media_type: MediaType, bytes: &[u8]) -> anyhow::Result<Descriptor> {
        let digest: Digest = digest(bytes).parse().context("make a digest")?;
        write(&self.blob(&digest), bytes)?;
        Ok(Descriptor::new(media_type, u64::try_from(bytes.len()).context("a blob too large")?, digest))
    }

    /// Stores a document, with its fields in order, so that equal documents have equal digests.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_json(&self, media_type: MediaType, document: &impl Serialize) -> anyhow::Result<Descriptor> {
        self.put(media_type, &canonical(document)?)
    }

    /// Writes the index: what the layout is for.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(&self, index: &ImageIndex) -> anyhow::Result<()> {
        write(&self.0.join("index.json"), &canonical(index)?)
    }

    /// Reads the index.
    ///
    /// # Errors
    /// When there is none, or it is not valid.
    pub fn index(&self) -> anyhow::Result<ImageIndex> {
        let path = self.0.join("index.json");
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))
    }

    /// Reads a blob and checks that it is what its name says.
    ///
    /// # Errors
    /// When it is not there, or not that.
    pub fn get(&self, descriptor: &Descriptor) -> anyhow::Result<Vec<u8>> {
        let path = self.blob(descriptor.digest());
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        if digest(&bytes) != descriptor.digest().to_string() {
            bail!("{} is damaged", path.display());
        }
        Ok(bytes)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// When it is not there, damaged or not of this kind.
    pub fn get_json<T: DeserializeOwned>(&self, descriptor: &Descriptor) -> anyhow::Result<T> {
        serde_json::from_slice(&self.get(descriptor)?).with_context(|| format!("read {}", descriptor.digest()))
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.0.join("blobs").join(digest.algorithm().to_string()).join(digest.digest())
    }
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

/// The document in JSON with the fields of every object in order: maps of the OCI types have none.
fn canonical(document: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    fn ordered(value: Value) -> Value {
        match value {
            Value::Array(values) => values.into_iter().map(ordered).collect(),
            Value::Object(fields) => {
                let fields: BTreeMap<String, Value> = fields.into_iter().collect();
                Value::Object(fields.into_iter().map(|(name, value)| (name, ordered(value))).collect())
            }
            other => other,
        }
    }
    let value = serde_json::to_value(document).context("write a document")?;
    serde_json::to_vec(&ordered(value)).context("write a document")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn equal_documents_have_equal_digests() {
        let document = |keys: [&str; 3]| keys.into_iter().map(|key| (key.to_owned(), 1)).collect::<HashMap<_, _>>();
        let written = canonical(&document(["c", "a", "b"])).unwrap();
        assert_eq!(written, canonical(&document(["b", "c", "a"])).unwrap());
        assert_eq!(written, br#"{"a":1,"b":1,"c":1}"#);
    }

    #[test]
    fn a_damaged_blob_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(folder.path()).unwrap();
        let descriptor = layout.put(MediaType::ImageConfig, b"{}").unwrap();
        assert_eq!(layout.get(&descriptor).unwrap(), b"{}");
        fs::write(layout.blob(descriptor.digest()), b"[]").unwrap();
        assert!(layout.get(&descriptor).unwrap_err().to_string().contains("damaged"));
    }
}
