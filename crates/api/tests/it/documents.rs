//! The OpenAPI documents against those of a real server, and in the hands of whoever reads them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shoal_api::openapi::{self, Custom, Served};
use shoal_api::resources::BUILT_IN;
use shoal_api::{GroupVersion, GroupVersionKind};

use crate::golden;

fn served() -> Served<'static> {
    Served { resources: &BUILT_IN, custom: &[] }
}

/// Our document of each group and version, and the recorded one; nothing where nothing was recorded.
fn documents() -> Vec<(Value, Value)> {
    let of = |group_version: GroupVersion| {
        let GroupVersion { group, version } = &group_version;
        let path = if group.is_empty() { "api".into() } else { format!("apis_{group}") };
        let theirs = golden::document(&format!("kube-openapi/v3/{path}_{version}.json"))?;
        Some((openapi::v3(&served(), &group_version).expect("it is served"), theirs))
    };
    group_versions().into_iter().filter_map(of).collect()
}

/// The schemas of a version are those of a real server, but for what is written down here.
#[test]
fn schemas_are_those_of_a_real_server() {
    let mut found = BTreeMap::new();
    let mut compared = 0;
    for (ours, theirs) in documents() {
        let (ours, theirs) = (&ours["components"]["schemas"], &theirs["components"]["schemas"]);
        for (name, theirs) in theirs.as_object().expect("schemas") {
            compared += 1;
            let Some(ours) = ours.get(name) else {
                found.insert(format!("{name}: only theirs"), ());
                continue;
            };
            let (mut ours, mut theirs) = (ours.clone(), theirs.clone());
            if name.ends_with(".Quantity") || name.ends_with(".IntOrString") {
                // Described in our own words.
                theirs["description"] = ours["description"].clone();
            }
            forgive(&mut ours, &mut theirs);
            found.extend(golden::differences(&ours, &theirs).map(|at| (format!("{name}{at}"), ())));
        }
    }
    let found: Vec<String> = found.into_keys().collect();
    assert!(compared == 0 || compared > 500, "compared only {compared}");
    assert!(found.is_empty(), "{} differences\n{}", found.len(), found.join("\n"));
}

/// The same for version 2. Its definitions are those of all groups in one document, of which ours has some.
#[test]
fn definitions_are_those_of_a_real_server() {
    let Some(theirs) = golden::document("kube-openapi/openapi-v2.json") else { return };
    let ours = openapi::v2(&served());
    let (mut found, mut compared) = (Vec::new(), 0);
    for (name, definition) in ours["definitions"].as_object().expect("definitions") {
        let Some(theirs) = theirs["definitions"].get(name) else {
            // The two groups that the recorded server does not have, and what they alone refer to.
            let is_ours = name.starts_with("dev.shoal.") || name.starts_with("io.k8s.metrics.");
            let is_ours = is_ours || name.ends_with(".meta.v1.Duration");
            found.extend((!is_ours).then(|| format!("{name}: only ours")));
            continue;
        };
        compared += 1;
        let (mut ours, mut theirs) = (definition.clone(), theirs.clone());
        if name.ends_with(".Quantity") || name.ends_with(".IntOrString") {
            theirs["description"] = ours["description"].clone();
        }
        forgive(&mut ours, &mut theirs);
        found.extend(golden::differences(&ours, &theirs).map(|at| format!("{name}{at}")));
    }
    assert!(compared > 450, "compared only {compared}");
    assert!(found.is_empty(), "{} differences\n{}", found.len(), found.join("\n"));
}

/// What differs on purpose: the sentences about each value of an enumeration, `x-kubernetes-unions`, which nobody reads,
/// and the order of `required`.
fn forgive(ours: &mut Value, theirs: &mut Value) {
    for schema in [ours, theirs] {
        // A set: theirs is in the order of Go's structs.
        if let Some(required) = schema["required"].as_array_mut() {
            required.sort_by_key(ToString::to_string);
        }
        schema.as_object_mut().map(|fields| fields.remove("x-kubernetes-unions"));
        for property in
            schema["properties"].as_object_mut().into_iter().flat_map(|fields| fields.values_mut())
        {
            let text = property["description"].as_str().unwrap_or_default();
            let text = text.split("\n\nPossible enum values:").next().unwrap_or_default().to_owned();
            if !text.is_empty() {
                property["description"] = text.into();
            }
        }
    }
}

/// Each operation of ours is one of theirs: same path, same method, same action, kind and name.
#[test]
fn operations_are_those_of_a_real_server() {
    let (mut found, mut compared) = (Vec::new(), 0);
    for (ours, theirs) in documents() {
        let (ours, theirs) = (operations(&ours), operations(&theirs));
        compared += theirs.len();
        for (at, operation) in &ours {
            match theirs.get(at) {
                Some(other) if other == operation => {}
                other => {
                    found.push(format!("{at}: ours {operation}, theirs {}", other.unwrap_or(&Value::Null)));
                }
            }
        }
        let missing = theirs.keys().filter(|at| !ours.contains_key(*at));
        found.extend(missing.map(|at| format!("{at}: only theirs")));
    }
    assert!(compared == 0 || compared > 300, "compared only {compared}");
    assert!(found.is_empty(), "{} differences\n{}", found.len(), found.join("\n"));
}

/// Method and path, and what kubectl reads of an operation. The paths of watches and of discovery are not ours.
fn operations(document: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        if path.contains("/watch/") || path.ends_with('/') || path.contains("/proxy") {
            continue;
        }
        for (method, operation) in
            methods.as_object().expect("methods").iter().filter(|(name, _)| *name != "parameters")
        {
            // Parameters may stand beside the methods, too. Kubernetes has those of streams and logs one by one.
            let has_own = operation["x-kubernetes-action"] == "connect" || path.ends_with("/log");
            let all = [&operation["parameters"], &methods["parameters"]]
                .into_iter()
                .flat_map(|list| list.as_array());
            let names = all.flatten().filter_map(|one| one["name"].as_str()).filter(|_| !has_own);
            let mut parameters: Vec<&str> =
                names.filter(|name| !["name", "namespace", "pretty"].contains(name)).collect();
            parameters.sort_unstable();
            let what = json!([
                operation["x-kubernetes-action"],
                operation["x-kubernetes-group-version-kind"]["kind"],
                operation["operationId"],
                operation["description"],
                operation["tags"],
                parameters,
            ]);
            found.insert(format!("{method} {path}"), what);
        }
    }
    found
}

fn group_versions() -> Vec<GroupVersion> {
    let mut all: Vec<GroupVersion> = BUILT_IN.iter().map(|resource| resource.group_version.clone()).collect();
    all.dedup();
    all
}

#[test]
fn the_index_names_a_document_for_each_version() {
    let index = openapi::v3_index(&served());
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("apps/v1 is served");
    let hash = openapi::v3_hash(&served(), &GroupVersion::new("apps", "v1"));
    assert_eq!(url, format!("/openapi/v3/apis/apps/v1?hash={hash}"));
    assert!(index["paths"]["api/v1"].is_object() && index["paths"]["apis/shoal.dev/v1"].is_object());
    assert_eq!(openapi::v3(&served(), &GroupVersion::new("example.com", "v1")), None);
}

#[test]
fn references_lead_somewhere() {
    for group_version in group_versions() {
        let document = openapi::v3(&served(), &group_version).expect("it is served");
        follow(&document, "#/components/schemas/", &document["components"]["schemas"]);
    }
    let document = openapi::v2(&served());
    follow(&document, "#/definitions/", &document["definitions"]);
}

fn follow(value: &Value, prefix: &str, among: &Value) {
    match value {
        Value::Object(fields) => {
            if let Some(name) = fields.get("$ref").and_then(Value::as_str) {
                let name = name.strip_prefix(prefix).unwrap_or_else(|| panic!("{name} leads elsewhere"));
                assert!(among[name].is_object(), "{name} is not there");
            }
            fields.values().for_each(|value| follow(value, prefix, among));
        }
        Value::Array(items) => items.iter().for_each(|item| follow(item, prefix, among)),
        _ => {}
    }
}

#[test]
fn custom_resources_have_documents_too() {
    let mut resource = BUILT_IN[0].clone();
    let kind = GroupVersionKind::new("example.com", "v1", "Widget");
    resource.group_version = kind.group_version();
    (resource.kind, resource.list_kind, resource.plural) =
        ("Widget".into(), "WidgetList".into(), "widgets".into());
    (resource.custom, resource.namespaced) = (true, true);
    resource.verbs = shoal_api::resources::CUSTOM_VERBS.to_vec();
    resource.subresources = Vec::new();
    let meta =
        |prefix: &str| json!({"$ref": format!("{prefix}io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")});
    let schema = |prefix: &str| json!({"type": "object", "properties": {"metadata": meta(prefix)}});
    let custom = [Custom { kind, v3: schema("#/components/schemas/"), v2: schema("#/definitions/") }];
    let resources = [resource];
    let served = Served { resources: &resources, custom: &custom };
    let document = openapi::v3(&served, &GroupVersion::new("example.com", "v1")).expect("it is served");
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["com.example.v1.Widget"]["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
    assert_eq!(
        schemas["com.example.v1.WidgetList"]["properties"]["items"]["items"]["$ref"],
        "#/components/schemas/com.example.v1.Widget"
    );
    follow(&document, "#/components/schemas/", schemas);
    let patch = &document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"];
    assert_eq!(patch["operationId"], "patchExampleComV1NamespacedWidget");
    let parameters = patch["parameters"].as_array().expect("parameters");
    assert!(parameters.iter().any(|one| one["name"] == "fieldValidation"), "kubectl looks for it");
    assert!(openapi::v2(&served)["definitions"]["com.example.v1.Widget"].is_object());
    assert!(openapi::v2_protobuf(&openapi::v2(&served)).len() > 1000);
}
