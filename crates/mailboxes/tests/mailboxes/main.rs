//! What mailboxes promise, with a store behind them.

mod cuts;
mod delayed;
mod eviction;
mod expiry;
mod loading;
mod requests;
mod restart;
mod scene;
mod window;
