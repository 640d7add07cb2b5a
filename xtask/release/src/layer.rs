//! A layer: a tar archive that depends on nothing but its files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;

use anyhow::Context as _;
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

/// A file of a layer; it belongs to root.
#[derive(Debug, Clone)]
pub struct File {
    /// Its content.
    pub content: Vec<u8>,
    /// Whether it is a program.
    pub executable: bool,
}

impl File {
    /// A file to read.
    pub fn data(content: impl Into<Vec<u8>>) -> Self {
        Self { content: content.into(), executable: false }
    }

    /// A file to run.
    pub fn program(content: impl Into<Vec<u8>>) -> Self {
        Self { content: content.into(), executable: true }
    }
}

/// The bytes of a layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The archive, compressed with gzip, which every registry and every engine takes.
    pub compressed: Vec<u8>,
    /// The digest of the archive itself.
    pub diff_id: String,
}

impl Layer {
    /// Archives files by their paths, relative to the root.
    ///
    /// # Errors
    /// When a path is too long for an archive.
    pub fn new(files: &BTreeMap<String, File>) -> anyhow::Result<Self> {
        let archive = archive(files)?;
        let diff_id = digest(&archive);
        // Neither a time nor the kind of this machine goes into the header.
        let mut gzip = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
        gzip.write_all(&archive).context("compress a layer")?;
        let compressed = gzip.finish().context("compress a layer")?;
        Ok(Self { compressed, diff_id })
    }
}

/// Archives files and the folders above them: in order, without times and without names of users.
pub(crate) fn archive(files: &BTreeMap<String, File>) -> anyhow::Result<Vec<u8>> {
    let mut archive = Builder::new(Vec::new());
    let mut folders = BTreeSet::new();
    for (path, file) in files {
        for folder in path.match_indices('/').map(|(end, _)| &path[..=end]) {
            if folders.insert(folder) {
                append(&mut archive, folder, EntryType::Directory, 0o755, &[])?;
            }
        }
        let mode = if file.executable { 0o755 } else { 0o644 };
        append(&mut archive, path, EntryType::Regular, mode, &file.content)?;
    }
    archive.into_inner().context("end an archive")
}

fn append(
    archive: &mut Builder<Vec<u8>>,
    path: &str,
    kind: EntryType,
    mode: u32,
    content: &[u8],
) -> anyhow::Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(u64::try_from(content.len()).context("a file too large")?);
    archive.append_data(&mut header, path, content).with_context(|| format!("archive {path}"))
}

/// `sha256:` and the digest in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;

    fn files() -> BTreeMap<String, File> {
        BTreeMap::from([
            ("bin/a".to_owned(), File::program("program")),
            ("etc/b/c".to_owned(), File::data("text")),
            ("etc/b/d".to_owned(), File::data("more")),
        ])
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let (one, other) = (Layer::new(&files()).unwrap(), Layer::new(&files()).unwrap());
        assert_eq!(one.compressed, other.compressed);
        assert_eq!(&one.compressed[4..8], [0; 4], "no time in the header");
    }

    #[test]
    fn entries_are_in_order_and_belong_to_nobody_by_name() {
        let layer = Layer::new(&files()).unwrap();
        let mut archive = Vec::new();
        GzDecoder::new(layer.compressed.as_slice()).read_to_end(&mut archive).unwrap();
        assert_eq!(digest(&archive), layer.diff_id);
        let mut archive = tar::Archive::new(archive.as_slice());
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0));
            assert!(header.username_bytes().unwrap_or_default().is_empty());
            seen.push((entry.path().unwrap().to_string_lossy().into_owned(), header.mode().unwrap()));
        }
        let expected = [
            ("bin/", 0o755),
            ("bin/a", 0o755),
            ("etc/", 0o755),
            ("etc/b/", 0o755),
            ("etc/b/c", 0o644),
            ("etc/b/d", 0o644),
        ];
        assert_eq!(seen, expected.map(|(path, mode)| (path.to_owned(), mode)));
    }
}
