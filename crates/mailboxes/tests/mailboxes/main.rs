//! The promises of mailboxes with a store.

mod cuts;
mod delayed;
mod eviction;
mod expiry;
mod failures;
mod loading;
mod requests;
mod restart;
mod scene;
mod window;
