//! The kubelet's credential plugin for Amazon's registries.

use std::process::ExitCode;

fn main() -> ExitCode {
    cloud_provider_aws::ecr::main()
}
