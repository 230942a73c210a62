//! Requests to a real HTTP server on a unix socket.

mod connections;
mod messages;
mod scene;
mod tls;
