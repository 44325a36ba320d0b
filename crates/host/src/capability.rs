//! What a guest can be granted, one file each.

pub(crate) mod http;
pub(crate) mod http_p3;
