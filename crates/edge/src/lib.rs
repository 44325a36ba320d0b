//! The data plane of a node: listeners, TLS, limits, named phases; calls [`shoal_runtime::Invoke`].
