//! What the API server reads: objects as JSON, YAML and protobuf.
#![allow(unreachable_pub, reason = "a module of the fuzz targets and of the tests of shoal-api")]

use shoal_api::decode::{self, Strictness};
use shoal_api::schema::builtin;
use shoal_api::{GroupVersionKind, defaults, proto};

/// What is read of a kind is read again from what it is written as, and nothing is left to find in it. The first byte
/// chooses the kind.
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
}

/// What is read of an envelope is the same after it was written and read again.
pub fn proto(bytes: &[u8]) {
    let Ok(value) = proto::decode_object(bytes) else { return };
    let written = proto::encode_object(&value).expect("its kind has a form");
    let again = proto::decode_object(&written).expect("it was just written");
    assert_eq!(again, value);
}

const KINDS: [(&str, &str); 6] = [
    ("", "Pod"),
    ("", "ConfigMap"),
    ("", "Service"),
    ("apps", "Deployment"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("networking.k8s.io", "Ingress"),
];
