//! The cloud controller manager for OpenStack.

use std::process::ExitCode;

fn main() -> ExitCode {
    cloud_provider::manager::run::<cloud_provider_openstack::OpenStackProvider>()
}
