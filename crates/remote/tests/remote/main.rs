//! Requests to a real HTTP server, on a socket in a folder of its own.

mod connections;
mod messages;
mod scene;
mod tls;
