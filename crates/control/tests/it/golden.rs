//! Recorded answers of a real kube-apiserver, where they are at hand.

use std::path::PathBuf;

use serde_json::Value;
use shoal_api::{GroupKind, Status};
use shoal_control::cel::Budget;
use shoal_control::custom::definition::{self, conditions};
use shoal_control::custom::{Compiled, scale::ScalePaths};

/// The exchanges of a recorded run; none where the recordings are not at hand.
fn exchanges(name: &str) -> Option<Vec<Value>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden/kubectl").join(name);
    let alternative =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/golden/kubectl").join(name);
    let text = std::fs::read_to_string(path).or_else(|_| std::fs::read_to_string(alternative)).ok()?;
    let run: Value = serde_json::from_str(&text).expect("a recording is JSON");
    Some(run["exchanges"].as_array().expect("exchanges").clone())
}

fn find<'a>(exchanges: &'a [Value], method: &str) -> &'a Value {
    exchanges.iter().find(|exchange| exchange["method"] == method).expect("the exchange was recorded")
}

#[test]
fn definitions_are_answered_as_recorded() {
    let Some(created) = exchanges("93-crd-apply.json") else { return };
    let exchange = find(&created, "POST");
    let recorded = &exchange["response_body"];
    let mut crd = exchange["request_body"].clone();
    definition::default(&mut crd);
    definition::prepare_create(&mut crd);
    assert_eq!(definition::validate_create(&crd), []);
    assert_eq!((&crd["spec"], &crd["status"]), (&recorded["spec"], &recorded["status"]));
    assert_eq!(crd["metadata"]["generation"], recorded["metadata"]["generation"]);
    let waited = exchanges("94-crd-wait.json").expect("recorded together");
    let recorded = &find(&waited, "GET")["response_body"];
    let now = recorded["status"]["conditions"][0]["lastTransitionTime"].as_str().expect("a time");
    let planned = conditions::plan(&crd, &conditions::Taken::default(), now).expect("something to write");
    assert_eq!(planned["status"], recorded["status"]);
}

#[test]
fn objects_are_answered_as_recorded() {
    let (Some(created), Some(refused)) = (exchanges("93-crd-apply.json"), exchanges("96-cr-apply-bad.json"))
    else {
        return;
    };
    let crd = &find(&created, "POST")["response_body"];
    let compiled = Compiled::new(crd, "v1").expect("a definition");
    let old = &find(&refused, "GET")["response_body"];
    let exchange = find(&refused, "PATCH");
    let mut new = old.clone();
    new["spec"]["size"] = exchange["request_body"]["spec"]["size"].clone();
    compiled.prepare_update(&mut new, old);
    let verdict = compiled.validate(&new, Some(old), &mut Budget::of_request());
    let kind = GroupKind { group: "example.com".into(), kind: "Widget".into() };
    assert_eq!(Status::invalid(&kind, "w1", &verdict.errors).to_value(), exchange["response_body"]);
    let scaled = exchanges("100-cr-scale.json").expect("recorded together");
    let paths = ScalePaths::new(&crd["spec"]["versions"][0]["subresources"]).expect("a scale");
    let mut object = find(&scaled, "GET")["response_body"].clone();
    let exchange = find(&scaled, "PATCH");
    paths.set(&mut object, &exchange["request_body"]).expect("written");
    let recorded = &exchange["response_body"];
    object["metadata"]["resourceVersion"] = recorded["metadata"]["resourceVersion"].clone();
    assert_eq!(paths.get(&object).as_ref(), Ok(recorded));
}
