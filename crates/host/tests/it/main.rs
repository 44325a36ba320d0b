//! Tests of the host through its public face.

mod cache;
mod capabilities;
mod hostile;
mod limits;
mod machine;
mod mesh;
mod outbound;
mod rewinding;
mod seeds;
mod serving;
mod sharing;
mod sockets;
mod world;
