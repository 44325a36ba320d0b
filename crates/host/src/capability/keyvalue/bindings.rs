//! Bindings of both drafts, made from the texts under `wit/`.

pub(super) use first::wasi::keyvalue0_2_0_draft as draft;
pub(super) use second::wasi::keyvalue0_2_0_draft2 as draft2;

#[allow(missing_docs, unreachable_pub, reason = "generated")]
mod first {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "wasi:keyvalue/imports@0.2.0-draft",
        imports: { default: async | trappable },
        with: { "wasi:keyvalue/store@0.2.0-draft.bucket": crate::capability::keyvalue::Bucket },
        trappable_error_type: { "wasi:keyvalue/store@0.2.0-draft.error" => crate::capability::keyvalue::CallError },
    });
}

#[allow(missing_docs, unreachable_pub, reason = "generated")]
mod second {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "wasi:keyvalue/imports@0.2.0-draft2",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store@0.2.0-draft2.bucket": crate::capability::keyvalue::Bucket,
            "wasi:keyvalue/atomics@0.2.0-draft2.cas": crate::capability::keyvalue::Cas,
        },
        trappable_error_type: { "wasi:keyvalue/store@0.2.0-draft2.error" => crate::capability::keyvalue::CallError },
    });
}
