//! The Kubernetes cloud controller manager for Amazon Web Services.
