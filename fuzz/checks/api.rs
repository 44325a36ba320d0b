//! What the API server reads: objects as JSON, YAML and protobuf; selectors and other words; patches.
#![allow(unreachable_pub, reason = "a module of the fuzz targets and of the tests of shoal-api")]

use shoal_api::apply::{self, Manager};
use shoal_api::decode::{self, Strictness};
use shoal_api::quantity::Quantity;
use shoal_api::schema::builtin;
use shoal_api::selector::{field, label};
use shoal_api::time::{Duration, Moment};
use shoal_api::{GroupVersionKind, defaults, lean, names, patch, proto};

/// What is read of a kind is read again from what it is written as, and nothing is left to find in it; readers that want
/// less of it find the rest. The first byte chooses the kind.
pub fn decode(bytes: &[u8]) {
    let Some((choice, text)) = bytes.split_first() else { return };
    let (group, kind) = KINDS[usize::from(*choice) % KINDS.len()];
    let node = builtin::kind(&GroupVersionKind::new(group, "v1", kind)).expect("it is built in");
    for read in [decode::json, decode::yaml] {
        let Ok((mut value, findings)) = read(text, node, Strictness::Warn) else { continue };
        let strict = read(text, node, Strictness::Strict).is_ok();
        assert_eq!(strict, findings.is_empty());
        let again = decode::json(value.to_string().as_bytes(), node, Strictness::Strict);
        assert_eq!(again, Ok((value.clone(), Vec::new())));
        defaults::settle(node, &mut value);
        let fitted = decode::value(value.clone(), node, Strictness::Strict);
        assert!(fitted.is_ok(), "{fitted:?}");
    }
    if let Ok((mut value, _)) = decode::free_yaml(text, Strictness::Warn) {
        decode::prune(node, &mut value);
    }
    if let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(text) {
        lean::strip(&mut value);
        assert_eq!(lean::read(text, lean::Text::Object).ok(), Some(value));
    }
}

/// What is read of an envelope is the same after it was written and read again.
pub fn proto(bytes: &[u8]) {
    let Ok(value) = proto::decode_object(bytes) else { return };
    let written = proto::encode_object(&value).expect("its kind has a form");
    let again = proto::decode_object(&written).expect("it was just written");
    assert_eq!(again, value);
}

/// What is understood as a selector, an amount, a time or a duration is shown in a form that means the same; names are
/// judged without a panic.
pub fn selector(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(selector) = label::Selector::parse(text) {
        let shown = selector.to_string();
        // A set of one empty value is written as an empty set, as upstream, which cannot be read.
        assert!(shown.contains("()") || label::Selector::parse(&shown) == Ok(selector), "{shown}");
    }
    if let Ok(selector) = field::Selector::parse(text) {
        let again = field::Selector::parse(&selector.to_string()).expect("it was just written");
        assert_eq!(again.terms().len(), selector.terms().len());
    }
    if let Ok(amount) = text.parse::<Quantity>() {
        assert_eq!(amount.to_string().parse(), Ok(amount));
    }
    if let Ok(moment) = text.parse::<Moment>()
        && (0..253_402_300_800).contains(&moment.seconds())
    {
        assert_eq!(moment.to_micro_time().parse(), Ok(moment));
    }
    if let Ok(time) = text.parse::<Duration>() {
        assert_eq!(time.to_string().parse(), Ok(time));
    }
    for check in [names::dns1123_label, names::qualified, names::label_value, names::port_name, names::cidr] {
        assert!(check(text).iter().all(|words| !words.is_empty()));
    }
    let _ = names::mask_trailing_dash(text);
}

/// A document with a patch: each sort of patch is applied or refused with words; one that states what it wants changes
/// nothing the second time; and what was tracked has nothing left to be tracked.
pub fn patch(bytes: &[u8]) {
    let Ok((input, _)) = decode::free_yaml(bytes, Strictness::Warn) else { return };
    let (document, patch) = (&input["document"], &input["patch"]);
    let node = builtin::kind(&GroupVersionKind::new("apps", "v1", "Deployment")).expect("it is built in");
    let _ = patch::json::apply(&mut document.clone(), patch);
    let mut merged = document.clone();
    if patch::merge::apply(&mut merged, patch.clone()).is_ok() {
        let mut again = merged.clone();
        assert_eq!(patch::merge::apply(&mut again, patch.clone()), Ok(()));
        assert_eq!(again, merged);
    }
    if let Err(error) = patch::strategic::apply(node, &mut document.clone(), patch.clone()) {
        assert!(!error.to_string().is_empty());
    }
    let api_version = patch["apiVersion"].as_str().unwrap_or_default();
    if !document.is_object() || api_version.is_empty() {
        return;
    }
    let manager = Manager {
        name: "kubectl",
        subresource: "",
        api_version,
        now: "2026-01-01T00:00:00Z",
        resets: &[&["status"]],
    };
    for force in [false, true] {
        let Ok(applied) = apply::apply(node, Some(document), patch, &manager, force) else { continue };
        let mut again =
            apply::apply(node, Some(&applied), patch, &manager, false).expect("nobody else owns it now");
        assert!(apply::settle(&applied, &mut again), "{applied}\n{again}");
    }
    let mut tracked = patch.clone();
    apply::track(node, Some(document), &mut tracked, &manager);
    let mut again = tracked.clone();
    apply::track(node, Some(&tracked), &mut again, &manager);
    assert_eq!(again, tracked);
}

const KINDS: [(&str, &str); 6] = [
    ("", "Pod"),
    ("", "ConfigMap"),
    ("", "Service"),
    ("apps", "Deployment"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("networking.k8s.io", "Ingress"),
];
