//! What a program says about itself: the machine it is for, and what it needs beside itself.

use anyhow::{Context as _, bail};
use object::Endianness;
use object::elf::{DT_NEEDED, EM_AARCH64, EM_X86_64, FileHeader64};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};
use oci_spec::image::Arch;

/// What was read from a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The machine.
    pub architecture: Arch,
    /// The program that loads it, such as `/lib64/ld-linux-x86-64.so.2`.
    pub interpreter: Option<String>,
    /// The dynamic libraries that it names.
    pub libraries: Vec<String>,
}

impl Program {
    /// Reads a program.
    ///
    /// # Errors
    /// When it is no 64-bit ELF file, or for a machine that no image is made for.
    pub fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        let header = FileHeader64::<Endianness>::parse(bytes).context("read an ELF header")?;
        let endian = header.endian().context("read an ELF header")?;
        let architecture = match header.e_machine(endian) {
            EM_X86_64 => Arch::Amd64,
            EM_AARCH64 => Arch::ARM64,
            other => bail!("no image is made for ELF machine {other:?}"),
        };
        let mut interpreter = None;
        for segment in header.program_headers(endian, bytes).context("read the ELF segments")? {
            if let Some(path) = segment.interpreter(endian, bytes).context("read the ELF interpreter")? {
                interpreter = Some(String::from_utf8_lossy(path).into_owned());
            }
        }
        let mut libraries = Vec::new();
        let sections = header.sections(endian, bytes).context("read the ELF sections")?;
        if let Some((entries, strings)) = sections.dynamic(endian, bytes).context("read the ELF dynamic section")? {
            let strings = sections.strings(endian, bytes, strings).context("read the ELF dynamic strings")?;
            for entry in entries.iter().filter(|entry| entry.tag(endian) == DT_NEEDED) {
                let name = entry.string(endian, strings).context("read the name of a library")?;
                libraries.push(String::from_utf8_lossy(name).into_owned());
            }
        }
        Ok(Self { architecture, interpreter, libraries })
    }

    /// Fails with what is missing unless the program runs where nothing but itself is.
    ///
    /// # Errors
    /// When it needs a loader or libraries.
    pub fn check_static(&self) -> anyhow::Result<()> {
        if self.interpreter.is_none() && self.libraries.is_empty() {
            return Ok(());
        }
        let needed: Vec<&str> = self.interpreter.iter().chain(&self.libraries).map(String::as_str).collect();
        bail!("it is not linked statically: it needs {}", needed.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_refused_with_what_it_needs() {
        let ours = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let program = Program::read(&ours).unwrap();
        assert!(program.libraries.iter().any(|name| name.starts_with("libc.so")), "{program:?}");
        let error = program.check_static().unwrap_err().to_string();
        assert!(error.contains("ld-linux") && error.contains("libc.so.6"), "{error}");
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert!(Program::read(b"#!/bin/sh\n").is_err());
    }
}
