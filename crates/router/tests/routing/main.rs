//! The whole engine on the fake under paused time: ingress, functions, egress, positions.

mod egress;
mod ending;
mod invalid;
mod messages;
mod scene;
