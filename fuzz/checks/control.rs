//! What users write for the API server to run: expressions, and schemas of their own kinds.
#![allow(unreachable_pub, reason = "a module of the fuzz targets and of the tests of shoal-control")]

use serde_json::{Value, json};
use shoal_control::cel::{Budget, Environment, Program, Root, Type, Val, View};
use shoal_control::custom::{Compiled, definition};

/// Steps for one input: enough to reach everything, too few to be slow.
const COST: u64 = 50_000;

/// An expression is understood or refused with words; it ends; and it comes to the type that was foretold.
pub fn cel(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else { return };
    let program = match Program::compile(source) {
        Ok(program) => program,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let input = json!({
        "metadata": {"name": "a", "namespace": "b"}, "status": {},
        "spec": {"replicas": 3, "max": 5, "name": "web", "items": ["ab", "c"], "share": 0.5, "on": true, "foo-bar": null},
    });
    let environment =
        Environment { names: vec![("self", Type::Dyn), ("oldSelf", Type::Dyn)], variables: None };
    let foretold = program.check(&environment);
    let mut root = Root::default();
    root.variables.push(("self", Val::json(&input, View::Dynamic)));
    let value = program.evaluate(&root, &mut Budget::new(COST));
    if let (Ok((foretold, _)), Ok(value)) = (foretold, value) {
        let foretold = foretold.name();
        if matches!(foretold.as_str(), "bool" | "int" | "uint" | "double" | "string" | "bytes") {
            assert_eq!(foretold, value.type_name(), "{source}");
        }
    }
}

/// A line with a schema and a line with an object: the schema is refused with words, or compiles; the object is judged;
/// what has not changed is never refused for its values.
pub fn crd(bytes: &[u8]) {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let (Ok(schema), Ok(object)) =
        (serde_json::from_slice::<Value>(&bytes[..end]), serde_json::from_slice::<Value>(&bytes[end..]))
    else {
        return;
    };
    let mut crd = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}}}],
        },
    });
    definition::default(&mut crd);
    definition::prepare_create(&mut crd);
    let errors = definition::validate_create(&crd);
    assert!(errors.iter().all(|error| !error.to_string().is_empty()));
    let compiled = match Compiled::new(&crd, "v1") {
        Ok(compiled) => compiled,
        Err(error) => return assert!(!errors.is_empty(), "{error} was not found before"),
    };
    let verdict = compiled.validate(&object, None, &mut Budget::new(COST));
    assert!(verdict.errors.iter().all(|error| !error.to_string().is_empty()));
    if errors.is_empty() && !schema.to_string().contains("oldSelf") {
        let again = compiled.validate(&object, Some(&object), &mut Budget::new(COST));
        let shown: Vec<String> = again.errors.iter().map(ToString::to_string).collect();
        let ours = |text: &String| {
            // A missing apiVersion inside an object is refused each time, and rules may cost too much or fail.
            !(text.contains("must ")
                || text.contains("evaluating rule")
                || text.contains("cost")
                || text.contains("overload"))
        };
        assert!(!shown.iter().any(ours), "{shown:?}");
    }
}
