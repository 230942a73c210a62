//! The region of a client.

use aws_config::{
    Region, environment::EnvironmentVariableRegionProvider, imds::region::ImdsRegionProvider,
    meta::region::ProvideRegion, profile::ProfileFileRegionProvider,
};
use statefun_kinesis_types::AwsRegion;

use crate::{BuildError, profile::Profile, sdk::Sdk};

/// Finds the region: the given one, or else that of the environment, of the profile, or of the EC2 instance if
/// `ask_instance` allows the request.
pub(crate) async fn find_region(
    given: &AwsRegion,
    profile: &Profile,
    ask_instance: bool,
    sdk: &Sdk,
) -> Result<Region, BuildError> {
    if let Some(id) = given.id() {
        return checked(Region::new(id.to_owned()));
    }
    if let Some(region) = EnvironmentVariableRegionProvider::new().region().await {
        return checked(region);
    }
    let config = sdk.provider(None);
    let mut of_profile = ProfileFileRegionProvider::builder().configure(&config).profile_files(profile.files.clone());
    if let Some(name) = &profile.name {
        of_profile = of_profile.profile_name(name);
    }
    if let Some(region) = of_profile.build().region().await {
        return checked(region);
    }
    if ask_instance && let Some(region) = ImdsRegionProvider::builder().configure(&config).build().region().await {
        return checked(region);
    }
    Err(BuildError::NoRegion)
}

/// Checks the region's id, because it becomes part of a host name and of the signature.
fn checked(region: Region) -> Result<Region, BuildError> {
    let id = region.as_ref();
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=63).contains(&id.len()) && id.bytes().all(valid) && !id.starts_with('-') && !id.ends_with('-') {
        Ok(region)
    } else {
        Err(BuildError::InvalidRegion { id: id.to_owned() })
    }
}
