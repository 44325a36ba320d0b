//! Whether the function that answers requests has the type that WASI gives it: found when a component is loaded,
//! where the linker would find it with the first request.

use shoal_runtime::{Kind, Refusal, Wasi};
use wasmtime::Engine;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, Type};

/// Refuses a component of kind HTTP whose handler takes or gives something else than a handler does.
pub(crate) fn check(name: &str, engine: &Engine, component: &Component, kind: Kind) -> Result<(), Refusal> {
    let (prefix, fits): (_, fn(&ComponentFunc) -> bool) = match kind {
        Kind::Http(Wasi::P2) => ("wasi:http/incoming-handler@", is_handler_p2),
        Kind::Http(Wasi::P3) => ("wasi:http/handler@", is_handler_p3),
        Kind::Command(_) | Kind::CommandModule => return Ok(()),
    };
    let component_type = component.component_type();
    for (interface, export) in component_type.exports(engine).filter(|(name, _)| name.starts_with(prefix)) {
        let ComponentItem::ComponentInstance(instance) = export.ty else { continue };
        let handle = instance.get_export(engine, "handle").map(|export| export.ty);
        if !matches!(&handle, Some(ComponentItem::ComponentFunc(handle)) if fits(handle)) {
            let what =
                format!("the `handle` of `{interface}` in `{name}` is not the function that WASI describes");
            return Err(Refusal::new(what).hint("build it with bindings that were made from this interface"));
        }
    }
    Ok(())
}

/// `handle: func(request: incoming-request, response-out: response-outparam)`
fn is_handler_p2(handle: &ComponentFunc) -> bool {
    handle.params().len() == 2
        && handle.params().all(|(_, parameter)| matches!(parameter, Type::Own(_)))
        && handle.results().len() == 0
}

/// `handle: async func(request: request) -> result<response, error-code>`
fn is_handler_p3(handle: &ComponentFunc) -> bool {
    handle.params().len() == 1
        && handle.params().all(|(_, parameter)| matches!(parameter, Type::Own(_)))
        && handle.results().len() == 1
        && handle.results().all(|result| matches!(result, Type::Result(_)))
}
