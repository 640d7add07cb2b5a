//! Images of two architectures, assembled from programs that are a header and some words.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::Timestamp;
use tempfile::TempDir;
use xtask_release::assembly::{Common, Image, Origin, Part, assemble};
use xtask_release::elf::Program;
use xtask_release::layout::Layout;
use xtask_release::packages::Package;
use xtask_release::project::{Controller, Form, Revision, Settings};
use xtask_release::sbom::Bom;

pub(crate) const BINARY: &str = "test-cloud-controller-manager";
pub(crate) const PATH: &str = "/bin/test-cloud-controller-manager";
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const AMD64: u16 = 62;
pub(crate) const ARM64: u16 = 183;

/// A layout with an image in it.
pub(crate) struct Made {
    pub(crate) folder: TempDir,
    pub(crate) layout: Layout,
    pub(crate) image: Image,
}

impl Made {
    pub(crate) fn new(words: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let layout = Layout::create(&folder.path().join("layout"))?;
        let controller = controller();
        let revision =
            Revision { commit: COMMIT.to_owned(), dirty: false, time: Timestamp::from_second(1_700_000_000)? };
        let parts: Vec<Part> = [AMD64, ARM64]
            .map(|machine| part(&controller, &revision, words, machine))
            .into_iter()
            .collect::<anyhow::Result<_>>()?;
        let common = Common {
            controller: &controller,
            revision: &revision,
            license: "the licence",
            notice: "the notice",
            tag: "v0",
            origin: Some(Origin { lock: b"lock", compiler: "rustc 1", builder: "https://ci.example" }),
        };
        let image = assemble(&layout, &common, &parts)?;
        Ok(Self { folder, layout, image })
    }
}

fn part(controller: &Controller, revision: &Revision, words: &str, machine: u16) -> anyhow::Result<Part> {
    let program = program(words, machine);
    let elf = Program::read(&program)?;
    elf.check_static()?;
    let package = Package {
        name: "left-pad".to_owned(),
        version: "1.0.0".to_owned(),
        license: "MIT".to_owned(),
        authors: Vec::new(),
        repository: None,
        checksum: Some("00".repeat(32)),
        folder: PathBuf::new(),
        uses: BTreeSet::new(),
    };
    let bom = Bom::new(controller, revision, &program, &[package], Some("2.36"));
    Ok(Part { architecture: elf.architecture, program, third_party: "their licences".to_owned(), bom })
}

/// The header of a 64-bit ELF file without segments, and words behind it.
pub(crate) fn program(words: &str, machine: u16) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[16] = 2;
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes[20] = 1;
    bytes[52] = 64;
    bytes[54] = 56;
    bytes[58] = 64;
    bytes.extend(words.repeat(100_000).bytes());
    bytes
}

fn controller() -> Controller {
    Controller {
        settings: Settings {
            cloud: "test".to_owned(),
            binary: BINARY.to_owned(),
            path: PATH.to_owned(),
            form: Form::Cmd,
            user: "0".to_owned(),
            max_compressed_bytes: 1 << 20,
        },
        package: "cloud-provider-test".to_owned(),
        folder: PathBuf::new(),
        version: "0.0.1".to_owned(),
        description: "A controller".to_owned(),
        license: "Apache-2.0".to_owned(),
        repository: "https://source.example/ccm".to_owned(),
    }
}
