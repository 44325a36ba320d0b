//! Manifests as registries hold them.

use serde_json::{Value, json};

use super::*;

fn descriptor(media_type: &str, name: &str) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(name.as_bytes()).to_string(), "size": name.len()})
}

fn manifest(config: &str, layers: &[&str]) -> Value {
    let layers: Vec<Value> = layers.iter().map(|media_type| descriptor(media_type, media_type)).collect();
    json!({"schemaVersion": 2, "config": descriptor(config, "config"), "layers": layers})
}

fn parse(value: &Value) -> Result<Document, ManifestError> {
    Document::parse(value.to_string().as_bytes())
}

fn plan(config: &str, layers: &[&str]) -> Result<Plan, ManifestError> {
    match parse(&manifest(config, layers))? {
        Document::Manifest(manifest) => manifest.plan(),
        Document::Index(_) => panic!("it is no index"),
    }
}

const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

#[test]
fn a_manifest_says_where_its_webassembly_is() {
    let Ok(Plan::Blob(blob)) = plan(WASM_CONFIG_TYPE, &[WASM_LAYER_TYPE]) else { panic!("one blob") };
    assert_eq!((blob.digest, blob.size), (Digest::of(b"application/wasm"), 16));
    let others =
        ["application/vnd.wasm.content.layer.v1+wasm", "application/vnd.module.wasm.content.layer.v1+wasm"];
    for other in others {
        assert!(
            matches!(plan("application/vnd.wasm.config.v1+json", &[other]), Ok(Plan::Blob(_))),
            "{other}"
        );
    }
    let gzip = format!("{OCI_LAYER}+gzip");
    let Ok(Plan::Layers(layers)) = plan(OCI_CONFIG, &[OCI_LAYER, &gzip]) else { panic!("two layers") };
    assert_eq!(layers.iter().map(|(_, gzip)| *gzip).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn what_has_no_webassembly_is_refused_with_words() {
    for (layers, expected) in [
        (vec![], ManifestError::Empty),
        (vec![WASM_LAYER_TYPE, WASM_LAYER_TYPE], ManifestError::Several(2)),
        (vec![WASM_LAYER_TYPE, "text/plain"], ManifestError::Layer("text/plain".into())),
        (vec!["application/vnd.cncf.helm.chart.content.v1.tar+gzip"], {
            ManifestError::Layer("application/vnd.cncf.helm.chart.content.v1.tar+gzip".into())
        }),
        (vec!["application/vnd.oci.image.layer.v1.tar+zstd"], ManifestError::Zstd),
    ] {
        assert_eq!(plan(OCI_CONFIG, &layers), Err(expected));
    }
    assert_eq!(parse(&json!({"schemaVersion": 1, "fsLayers": []})), Err(ManifestError::Old));
    for wrong in
        [json!({}), json!([]), json!({"config": {"digest": "x", "size": 1}}), json!({"manifests": 1})]
    {
        assert!(matches!(parse(&wrong), Err(ManifestError::Form(_))), "{wrong}");
    }
    let mut negative = manifest(OCI_CONFIG, &[OCI_LAYER]);
    negative["layers"][0]["size"] = json!(-1);
    assert!(matches!(parse(&negative), Err(ManifestError::Form(_))));
}

#[test]
fn limits_hold_at_their_edges() {
    let layers = |count: usize| parse(&manifest(OCI_CONFIG, &vec![OCI_LAYER; count]));
    assert!(layers(LAYERS_MAX).is_ok());
    assert!(matches!(layers(LAYERS_MAX + 1), Err(ManifestError::TooMany { what: "layers", .. })));
    let images = |count: usize| parse(&json!({"manifests": vec![descriptor("x", "x"); count]}));
    assert!(images(INDEX_MAX).is_ok());
    assert!(matches!(images(INDEX_MAX + 1), Err(ManifestError::TooMany { what: "images", .. })));
    let mut text = manifest(OCI_CONFIG, &[OCI_LAYER]).to_string();
    text.extend(std::iter::repeat_n(' ', MANIFEST_BYTES_MAX - text.len()));
    assert!(Document::parse(text.as_bytes()).is_ok());
    text.push(' ');
    assert!(matches!(Document::parse(text.as_bytes()), Err(ManifestError::TooMany { what: "bytes", .. })));
}

#[test]
fn the_image_for_webassembly_is_chosen() {
    let image = |os: &str, architecture: &str| {
        let mut image = descriptor(MANIFEST_TYPE, &format!("{os}/{architecture}"));
        if !os.is_empty() {
            image["platform"] = json!({"os": os, "architecture": architecture});
        }
        image
    };
    let choose = |images: &[(&str, &str)]| {
        let images: Vec<Value> = images.iter().map(|(os, architecture)| image(os, architecture)).collect();
        let Ok(Document::Index(index)) = parse(&json!({"manifests": images})) else { panic!("an index") };
        index.choose().map(|image| image.digest)
    };
    let of = |name: &str| Ok(Digest::of(name.as_bytes()));
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let linux = format!("linux/{machine}");
    assert_eq!(
        choose(&[("linux", machine), ("wasi", "wasm"), ("wasip1", "wasm"), ("wasip2", "wasm")]),
        of("wasip2/wasm")
    );
    assert_eq!(choose(&[("linux", machine), ("wasi", "wasm"), ("wasip1", "wasm")]), of("wasip1/wasm"));
    assert_eq!(choose(&[("linux", machine), ("wasi", "wasm32")]), of("wasi/wasm32"));
    assert_eq!(choose(&[("windows", "amd64"), ("linux", machine)]), of(&linux));
    assert_eq!(choose(&[("linux", machine), ("", "")]), of("/"));
    let error = choose(&[("windows", "amd64"), ("linux", "s390x")]).expect_err("none fits");
    assert_eq!(error, ManifestError::Platform("windows/amd64, linux/s390x".into()));
    assert_eq!(choose(&[]), Err(ManifestError::Platform("nothing".into())));
}

#[test]
fn statements_about_images_are_no_images() {
    let mut statement = descriptor(MANIFEST_TYPE, "statement");
    statement["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let mut image = descriptor(MANIFEST_TYPE, "image");
    image["annotations"] = Value::Null;
    let index = json!({"manifests": [statement, image]});
    let Ok(Document::Index(index)) = parse(&index) else { panic!("an index") };
    assert_eq!(index.choose().map(|image| image.digest), Ok(Digest::of(b"image")));
}

#[test]
fn an_entry_point_is_the_first_word() {
    let config = json!({"config": {"Entrypoint": ["/app.wasm", "serve"], "Cmd": ["x"]}});
    assert_eq!(entry_points(config.to_string().as_bytes()), ["/app.wasm", "x"]);
    for nothing in ["", "{}", "[]", r#"{"config": null}"#, r#"{"config": {"Entrypoint": null, "Cmd": []}}"#] {
        assert_eq!(entry_points(nothing.as_bytes()), Vec::<String>::new(), "{nothing}");
    }
}
