//! `check --iam-policy`: the minimum IAM policy that a module needs.

mod document;
mod notes;
mod policies;
#[cfg(test)]
mod tests;

pub(crate) use document::action;
pub(crate) use policies::Policies;
