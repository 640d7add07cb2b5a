//! Container images of the controllers: assembled, described and pushed with libraries, without a container engine.
//!
//! An image holds one statically linked program, the certificates it trusts and the licences of what it is made of.
//! Assembled twice from the same program and the same commit it has the same digest.
//!
//! - [`project`]: what the workspace says about a controller and its commit.
//! - [`elf`]: for which machine a program is, and whether it needs anything but itself.
//! - [`packages`], [`licences`], [`sbom`], [`provenance`]: what is in it, under which terms, from where.
//! - [`certificates`]: whom it trusts.
//! - [`layer`], [`layout`], [`assembly`], [`docker_archive`]: the image.
//! - [`registry`], [`push`]: the way to others.
//! - [`chart`]: charts and manifests with the image pinned.
//! - [`cosign`]: signatures and attestations.
//! - [`release`]: all of it in order, for one version of one crate.

pub mod assembly;
pub mod certificates;
pub mod chart;
pub mod cosign;
pub mod docker_archive;
pub mod elf;
pub mod layer;
pub mod layout;
pub mod licences;
pub mod packages;
pub mod project;
pub mod provenance;
pub mod push;
pub mod registry;
pub mod release;
pub mod sbom;
