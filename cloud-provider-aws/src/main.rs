//! The cloud controller manager for Amazon Web Services.

use std::process::ExitCode;

fn main() -> ExitCode {
    cloud_provider::manager::run::<cloud_provider_aws::AwsProvider>()
}
