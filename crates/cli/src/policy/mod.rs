//! The least IAM policy that a module needs: `check --iam-policy`.

mod document;
mod notes;
mod policies;
#[cfg(test)]
mod tests;

pub(crate) use document::action;
pub(crate) use policies::Policies;
