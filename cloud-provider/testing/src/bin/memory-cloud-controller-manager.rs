//! A complete controller manager on the scriptable cloud.

use std::process::ExitCode;

use cloud_provider_testing::cloud::MemoryProvider;

fn main() -> ExitCode {
    cloud_provider::manager::run::<MemoryProvider>()
}
