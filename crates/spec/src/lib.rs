//! Module files of Stateful Functions, read into a checked model or into every problem at once.
