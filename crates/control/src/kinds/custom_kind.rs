//! Definitions of custom kinds: what they mean where they say nothing. What they may say is checked where they are
//! used.

use serde_json::{Value, json};

use super::look::{child, flag, items, list, set, set_empty, set_missing, text, texts};

/// A definition: its names follow from its kind, its versions are not converted.
pub(super) fn default(definition: &mut Value) {
    let Some(spec) = child(definition, "spec") else { return };
    let kind = text(&spec["names"], "kind").to_owned();
    if let Some(names) = child(spec, "names") {
        set_empty(names, "singular", kind.to_lowercase());
        if !kind.is_empty() {
            set_empty(names, "listKind", format!("{kind}List"));
        }
    }
    let Some(conversion) = child(spec, "conversion") else { return };
    set_empty(conversion, "strategy", "None");
    let service = conversion
        .get_mut("webhook")
        .and_then(|webhook| webhook.get_mut("clientConfig"))
        .and_then(|config| config.get_mut("service"));
    if let Some(service) = service.filter(|service| service.is_object()) {
        set_missing(service, "port", 443);
    }
    for version in items(spec, "versions") {
        let subresources = version.get_mut("subresources");
        if let Some(status) = subresources.and_then(|one| one.get_mut("status")).filter(|one| one.is_null()) {
            *status = json!({});
        }
    }
}

/// A new definition has stored nothing but what it will store.
pub(super) fn prepare_create(definition: &mut Value) {
    set(definition, "status", json!({}));
    store(definition);
}

/// Whatever was stored once may still be there: the versions add up.
pub(super) fn prepare_update(subresource: &str, definition: &mut Value, _old: &Value) {
    if subresource.is_empty() {
        store(definition);
    }
}

fn store(definition: &mut Value) {
    let mut versions =
        list(&definition["spec"], "versions").iter().filter(|version| flag(version, "storage"));
    let Some(stored) = versions.next().map(|version| text(version, "name").to_owned()) else { return };
    let Some(status) = child(definition, "status") else { return };
    if !texts(status, "storedVersions").contains(&stored.as_str()) {
        let mut all = list(status, "storedVersions").to_vec();
        all.push(json!(stored));
        set(status, "storedVersions", all);
    }
}
