use super::{credentials, egress, family::Family, functions, process, reading};

/// All families, in the order of the exposition and of the page.
pub(crate) fn families() -> impl Iterator<Item = &'static Family> {
    [process::FAMILIES, reading::FAMILIES, functions::FAMILIES, egress::FAMILIES, credentials::FAMILIES]
        .into_iter()
        .flatten()
}
