//! Bindings, made from the text under `wit/`.

pub(super) use generated::wasi::blobstore::{blobstore, container, types};

#[allow(missing_docs, unreachable_pub, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "wasi:blobstore/imports@0.2.0-draft",
        imports: { default: async | trappable },
        with: {
            "wasi:io": wasmtime_wasi_io::bindings::wasi::io,
            "wasi:blobstore/container.container": crate::capability::blobstore::guest::Container,
            "wasi:blobstore/container.stream-object-names": crate::capability::blobstore::guest::ObjectNames,
            "wasi:blobstore/types.outgoing-value": crate::capability::blobstore::value::OutgoingValue,
            "wasi:blobstore/types.incoming-value": crate::capability::blobstore::value::IncomingValue,
        },
    });
}
