use std::fmt;

/// The parts of a store. A key means something within its table only, and a commit changes any of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Small facts about the whole: what the module was, which state values a function type declared.
    /// Keys: [`key::meta`](crate::key::meta).
    Meta,
    /// How far each shard was read. Keys: [`key::stream`](crate::key::stream), [`key::shard`](crate::key::shard).
    Positions,
    /// Values of functions. Keys: [`key::state`](crate::key::state).
    State,
    /// Messages that an address has not processed yet, those of its request in flight included.
    /// Keys: [`key::numbered`](crate::key::numbered()) with the id of the target.
    Mailboxes,
    /// Delayed messages that are not delivered yet. Keys: [`key::numbered`](crate::key::numbered()) with the id of the
    /// sender, because the sender is who can cancel them.
    Timers,
    /// Records for streams that were not acknowledged yet. Keys: [`key::numbered`](crate::key::numbered()) with the id
    /// of the sender.
    Egress,
    /// The index of [`Timers`](Self::Timers) by due time; values are empty. Keys: [`key::due`](crate::key::due).
    Due,
    /// Cancellations of delayed messages whose timers have not been looked up yet.
    /// Keys: [`key::numbered`](crate::key::numbered()) with the id of the sender.
    Cancellations,
}

impl Table {
    /// Every table, in the order of their declaration.
    pub const ALL: [Self; 8] = [
        Self::Meta,
        Self::Positions,
        Self::State,
        Self::Mailboxes,
        Self::Timers,
        Self::Egress,
        Self::Due,
        Self::Cancellations,
    ];

    /// The table's name, as people and directories see it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Positions => "positions",
            Self::State => "state",
            Self::Mailboxes => "mailboxes",
            Self::Timers => "timers",
            Self::Egress => "egress",
            Self::Due => "due",
            Self::Cancellations => "cancellations",
        }
    }

    /// The table's place in [`ALL`](Self::ALL).
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_its_index() {
        for (index, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table.index(), index, "{table}");
        }
    }
}
