mod apply;
mod change;
mod egress;
mod group;
mod lineage;
mod machine;
mod mailbox;
mod restore;
mod schedule;
mod state;
mod timers;

pub use apply::{Answer, Refused};
pub use change::{Changes, Image, StoredEgress, StoredMessage, StoredState, StoredTimer};
pub use group::{FunctionCounts, GroupId, GroupSettings, UnknownFunction};
pub use machine::{Limits, Mailboxes, Usage};
pub use schedule::{Request, RequestId};
