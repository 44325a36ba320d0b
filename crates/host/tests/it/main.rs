//! Tests of the host through its public face.

/// The allocator of the binary: what is freed has to be given back as it gives it back.
#[global_allocator]
static ALLOCATOR: shoal_base::allocator::Allocator = shoal_base::allocator::Allocator;

mod cache;
mod capabilities;
mod hostile;
mod limits;
mod machine;
mod memory;
mod mesh;
mod outbound;
mod rewinding;
mod seeds;
mod serving;
mod sharing;
mod sockets;
mod world;
