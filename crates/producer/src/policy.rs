/// An [`OnFailure`](crate::OnFailure) without its settings, as the machine needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Policy {
    #[default]
    Fail,
    Skip,
    DeadLetter,
}
