//! Tokens: what they stand for, and how they are refused.

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use http::HeaderMap;
use serde_json::{Value, json};
use shoal_server::auth::{Authenticator, Bound, Keys, TOKEN_BYTES_MAX};

use crate::world::{ISSUER, NOW, World, at, shows, wrong_with};

/// Asks for a token of `default/bot`.
async fn token(authenticator: &Authenticator, world: &World, spec: Value) -> String {
    let request = json!({"spec": spec});
    let accounts = authenticator.service_accounts();
    let issued = accounts.request(world, "default", "bot", &request, at(NOW)).await.expect("issued");
    issued.object["status"]["token"].as_str().expect("a token").to_string()
}

fn pod_bound() -> Value {
    json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "p-uid"}})
}

#[tokio::test]
async fn a_token_request_is_answered_as_that_of_kubernetes() {
    let world = World::new();
    let authenticator = world.authenticator();
    let request =
        json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "spec": {}});
    let accounts = authenticator.service_accounts();
    let mut issued = accounts.request(&world, "default", "bot", &request, at(NOW)).await.expect("issued");
    let token = issued.object["status"]["token"].take();
    assert_eq!(issued.warnings, Vec::<String>::new());
    assert_eq!(
        issued.object,
        json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": "bot", "namespace": "default", "creationTimestamp": "2027-01-15T08:00:00Z"},
            "spec": {"audiences": [ISSUER], "expirationSeconds": 3600, "boundObjectRef": null},
            "status": {"token": null, "expirationTimestamp": "2027-01-15T09:00:00Z"},
        })
    );
    let parts: Vec<Vec<u8>> = token
        .as_str()
        .expect("a token")
        .split('.')
        .map(|part| BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64"))
        .collect();
    let header: Value = serde_json::from_slice(&parts[0]).expect("JSON");
    let jwks = accounts.jwks();
    assert_eq!(header, json!({"alg": "ES256", "kid": jwks["keys"][0]["kid"]}));
    let mut claims: Value = serde_json::from_slice(&parts[1]).expect("JSON");
    assert_eq!(claims["jti"].take().as_str().map(str::len), Some(36));
    assert_eq!(
        claims,
        json!({
            "aud": [ISSUER], "exp": NOW + 3600, "iat": NOW, "nbf": NOW, "iss": ISSUER, "jti": null,
            "sub": "system:serviceaccount:default:bot",
            "kubernetes.io": {"namespace": "default", "serviceaccount": {"name": "bot", "uid": "bot-uid"}},
        })
    );
    let configuration = accounts.configuration("https://192.0.2.1:6443/");
    assert_eq!(configuration["jwks_uri"], "https://192.0.2.1:6443/openid/v1/jwks");
    assert_eq!(configuration["issuer"], ISSUER);
}

#[tokio::test]
async fn a_bound_token_stands_for_its_account_and_tells_of_its_pod() {
    let world = World::new();
    let authenticator = world.authenticator();
    let token = token(&authenticator, &world, pod_bound()).await;
    let user = shows(&authenticator, &token, NOW).await.expect("it is valid");
    assert_eq!(user.name, "system:serviceaccount:default:bot");
    assert_eq!(user.uid, "bot-uid");
    assert_eq!(
        user.groups,
        ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    );
    let told = |key: &str| {
        user.extra.get(&format!("authentication.kubernetes.io/{key}")).map(|values| values.join(","))
    };
    assert_eq!(
        ["pod-name", "pod-uid", "node-name", "node-uid"].map(|key| told(key).unwrap_or_default()),
        ["p", "p-uid", "n1", "n1-uid"]
    );
    assert!(told("credential-id").is_some_and(|id| id.starts_with("JTI=")));
    let answer = authenticator.review(&json!({"spec": {"token": token}}), at(NOW)).await.expect("answered");
    assert_eq!(answer["status"]["authenticated"], true);
    assert_eq!(answer["status"]["audiences"], json!([ISSUER]));
    assert_eq!(answer["status"]["user"]["username"], "system:serviceaccount:default:bot");
}

#[tokio::test]
async fn a_token_ends_with_what_it_is_bound_to() {
    let gone = "[invalid bearer token, service account token has been invalidated]";
    let deleted = |name: &str, seconds: i64| json!({"metadata": {"name": name, "deletionTimestamp": at(NOW - seconds).to_string()}});
    let reference =
        |kind: &str, name: &str| json!({"boundObjectRef": {"kind": kind, "apiVersion": "v1", "name": name}});
    type Change = Box<dyn Fn(&World)>;
    let cases: Vec<(Value, Change, &str)> = vec![
        (pod_bound(), Box::new(|_| {}), ""),
        (pod_bound(), Box::new(|world| world.remove("pods", "default", "p")), gone),
        (pod_bound(), Box::new(move |world| world.put("pods", "default", "p", deleted("p", 30))), ""),
        (pod_bound(), Box::new(move |world| world.put("pods", "default", "p", deleted("p", 61))), gone),
        (pod_bound(), Box::new(|world| world.remove("nodes", "", "n1")), ""),
        (
            pod_bound(),
            Box::new(|world| world.put("pods", "default", "p", json!({"metadata": {"uid": "new"}}))),
            "[invalid bearer token, pod UID (new) does not match service account pod ref claim (p-uid)]",
        ),
        (reference("Secret", "s"), Box::new(|world| world.remove("secrets", "default", "s")), gone),
        (reference("Node", "n1"), Box::new(|world| world.remove("nodes", "", "n1")), gone),
        (
            json!({}),
            Box::new(|world| world.remove("serviceaccounts", "default", "bot")),
            "[invalid bearer token, serviceaccounts \"bot\" not found]",
        ),
        (
            json!({}),
            Box::new(|world| {
                world.put("serviceaccounts", "default", "bot", json!({"metadata": {"uid": "new"}}));
            }),
            "[invalid bearer token, service account UID (new) does not match claim (bot-uid)]",
        ),
        (
            json!({}),
            Box::new(move |world| world.put("serviceaccounts", "default", "bot", deleted("bot", 61))),
            "[invalid bearer token, service account default/bot has been deleted]",
        ),
    ];
    for (spec, change, error) in cases {
        let world = World::new();
        let authenticator = world.authenticator();
        let token = token(&authenticator, &world, spec.clone()).await;
        assert_eq!(wrong_with(&authenticator, &token, NOW).await, "", "{spec}");
        change(&world);
        // The signature is remembered by now: what lives is looked at all the same.
        assert_eq!(wrong_with(&authenticator, &token, NOW).await, error, "{spec}");
        assert_eq!(shows(&authenticator, &token, NOW).await.is_ok(), error.is_empty());
    }
}

#[tokio::test]
async fn a_token_is_valid_for_its_time_and_its_audiences() {
    let world = World::new();
    let authenticator = world.authenticator();
    let own = token(&authenticator, &world, json!({"expirationSeconds": 600})).await;
    for (now, error) in [
        (NOW - 60, ""),
        (NOW - 61, "[invalid bearer token, service account token is not valid yet]"),
        (NOW + 660, ""),
        (NOW + 661, "[invalid bearer token, service account token has expired]"),
    ] {
        assert_eq!(wrong_with(&authenticator, &own, now).await, error, "{now}");
    }
    let vault = token(&authenticator, &world, json!({"audiences": ["vault", "db"]})).await;
    assert_eq!(shows(&authenticator, &vault, NOW).await, Err(401), "it is not meant for this server");
    let review = json!({"spec": {"token": vault, "audiences": ["db", "other"]}});
    let answer = authenticator.review(&review, at(NOW)).await.expect("answered");
    assert_eq!(answer["status"]["audiences"], json!(["db"]));
    let review = json!({"spec": {"token": vault, "audiences": ["other"]}});
    let answer = authenticator.review(&review, at(NOW)).await.expect("answered");
    assert_eq!(
        answer["status"]["error"],
        "[invalid bearer token, token audiences [\"vault\", \"db\"] is invalid for the target audiences [\"other\"]]"
    );
}

#[tokio::test]
async fn keys_are_rotated_and_taken_away() {
    let world = World::new();
    let authenticator = world.authenticator();
    let keys = Keys::generate();
    authenticator.service_accounts().replace_keys(keys.clone());
    let token = token(&authenticator, &world, json!({})).await;
    authenticator.service_accounts().replace_keys(keys.rotated());
    assert_eq!(wrong_with(&authenticator, &token, NOW).await, "", "the old key verifies still");
    authenticator.service_accounts().replace_keys(Keys::generate());
    let error = "[invalid bearer token, it is not signed by a key of this server]";
    assert_eq!(wrong_with(&authenticator, &token, NOW).await, error, "though it was verified before");
}

/// A token with any header and claims, signed by nobody.
fn forged(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", encode(header), encode(claims), BASE64_URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn what_nobody_has_signed_is_refused() {
    let world = World::new();
    let authenticator = world.authenticator();
    let good = token(&authenticator, &world, json!({})).await;
    let parts: Vec<&str> = good.split('.').collect();
    let claims: Value =
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(parts[1]).expect("base64")).expect("JSON");
    let signature = BASE64_URL_SAFE_NO_PAD.decode(parts[2]).expect("base64");
    let mut master = claims.clone();
    master["sub"] = json!("system:serviceaccount:kube-system:root");
    let jwk = &authenticator.service_accounts().jwks()["keys"][0];
    let es256 = json!({"alg": "ES256", "kid": jwk["kid"]});
    let point = [jwk["x"].as_str().expect("x"), jwk["y"].as_str().expect("y")].concat();
    let with_public_key = {
        let header = json!({"alg": "HS256", "kid": jwk["kid"]});
        let message = forged(&header, &master, b"").trim_end_matches('.').to_string();
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, point.as_bytes());
        forged(&header, &master, aws_lc_rs::hmac::sign(&key, message.as_bytes()).as_ref())
    };
    let other_key = World::new().authenticator();
    let elsewhere = token(&other_key, &world, json!({})).await;
    for (why, token) in [
        ("other claims", forged(&es256, &master, &signature)),
        ("no algorithm", forged(&json!({"alg": "none"}), &claims, b"")),
        ("no signature", forged(&es256, &claims, b"")),
        ("zeros", forged(&es256, &claims, &[0; 64])),
        ("another key", elsewhere),
        ("the public key as a secret", with_public_key),
        ("an unknown issuer", forged(&es256, &json!({"iss": "https://example.com"}), &signature)),
        ("a fourth part", format!("{good}.")),
        ("cut short", good[..good.len() - 2].to_string()),
        ("no token", "x".into()),
        ("very long", "a".repeat(TOKEN_BYTES_MAX + 1)),
    ] {
        assert_eq!(shows(&authenticator, &token, NOW).await, Err(401), "{why}");
        assert_ne!(wrong_with(&authenticator, &token, NOW).await, "", "{why}");
    }
    assert!(shows(&authenticator, &good, NOW).await.is_ok());
    let long = wrong_with(&authenticator, &"a".repeat(TOKEN_BYTES_MAX), NOW).await;
    assert!(!long.contains("more than"), "as long as it may be: {long}");
}

#[tokio::test]
async fn requests_for_tokens_are_refused_as_those_of_kubernetes() {
    let world = World::new();
    let authenticator = world.authenticator();
    let accounts = authenticator.service_accounts();
    let bound = |kind: &str, name: &str, uid: &str| json!({"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name, "uid": uid}});
    let year = 365 * 24 * 3600;
    for (name, spec, code, message) in [
        ("nobody", json!({}), 404, "serviceaccounts \"nobody\" not found"),
        (
            "bot",
            json!({"expirationSeconds": 599}),
            422,
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
        ),
        (
            "bot",
            json!({"expirationSeconds": (1_i64 << 32) + 1}),
            422,
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds",
        ),
        ("bot", bound("Pod", "gone", ""), 404, "pods \"gone\" not found"),
        (
            "bot",
            bound("Pod", "other", ""),
            400,
            "cannot bind token for serviceaccount \"bot\" to pod running with different serviceaccount name.",
        ),
        ("bot", bound("ConfigMap", "c", ""), 400, "cannot bind token to object of type v1, Kind=ConfigMap"),
        (
            "bot",
            bound("Pod", "p", "old"),
            409,
            "Operation cannot be fulfilled on Pod \"p\": the UID in the bound object reference (old) does not match the UID in record. The object might have been deleted and then recreated",
        ),
    ] {
        let refused = accounts
            .request(&world, "default", name, &json!({"spec": spec}), at(NOW))
            .await
            .expect_err(message);
        assert_eq!((refused.code, refused.message.as_str()), (code, message));
    }
    for (asked, given, warnings) in
        [(600, 600, 0), (year, year, 0), (year + 1, year, 1), (1_i64 << 32, year, 1)]
    {
        let request = json!({"spec": {"expirationSeconds": asked}});
        let issued = accounts.request(&world, "default", "bot", &request, at(NOW)).await.expect("issued");
        assert_eq!(issued.object["spec"]["expirationSeconds"], given);
        assert_eq!(issued.warnings.len(), warnings, "{asked}");
    }
    assert_eq!(authenticator.review(&json!({"spec": {}}), at(NOW)).await.expect_err("no token").code, 400);
}

#[tokio::test]
async fn a_token_whose_subject_is_another_account_is_refused() {
    let world = World::new();
    let authenticator = world.authenticator();
    // An account whose object says another name than its key: what is signed names it twice, alike.
    let odd = json!({"metadata": {"namespace": "default", "name": "bot:x", "uid": "u"}});
    let token =
        authenticator.service_accounts().issue(&odd, &[ISSUER.to_string()], &Bound::default(), at(NOW), 600);
    assert_eq!(shows(&authenticator, &token, NOW).await, Err(401));
}

/// A bootstrap token's Secret with some data changed; null removes an entry.
fn bootstrap(changes: &Value) -> Value {
    let mut data = json!({
        "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
        "expiration": at(NOW + 60).to_string(), "auth-extra-groups": "system:bootstrappers:b,system:bootstrappers:a",
    });
    for (key, value) in changes.as_object().expect("an object") {
        data[key] = value.clone();
    }
    let entries =
        data.as_object().expect("an object").iter().filter_map(|(key, value)| Some((key, value.as_str()?)));
    let data: serde_json::Map<_, _> =
        entries.map(|(key, value)| (key.clone(), json!(BASE64_STANDARD.encode(value)))).collect();
    json!({"type": "bootstrap.kubernetes.io/token", "data": data})
}

#[tokio::test]
async fn a_bootstrap_token_stands_for_a_machine_that_joins() {
    let world = World::new();
    let authenticator = world.authenticator();
    let token = "abcdef.0123456789abcdef";
    let put = |object| world.put("secrets", "kube-system", "bootstrap-token-abcdef", object);
    put(bootstrap(&json!({})));
    let user = shows(&authenticator, token, NOW).await.expect("it is valid");
    assert_eq!(user.name, "system:bootstrap:abcdef");
    assert_eq!(
        user.groups,
        ["system:bootstrappers:a", "system:bootstrappers:b", "system:bootstrappers", "system:authenticated"]
    );
    assert_eq!(shows(&authenticator, "abcdef.0123456789abcdee", NOW).await, Err(401));
    assert_eq!(shows(&authenticator, "abcdeg.0123456789abcdef", NOW).await, Err(401));
    assert_eq!(shows(&authenticator, token, NOW + 60).await, Err(401), "it has expired");
    for change in [
        json!({"usage-bootstrap-authentication": "false"}),
        json!({"usage-bootstrap-authentication": null}),
        json!({"token-id": "abcdeg"}),
        json!({"token-secret": null}),
        json!({"expiration": "soon"}),
        json!({"auth-extra-groups": "system:masters"}),
    ] {
        put(bootstrap(&change));
        assert_eq!(shows(&authenticator, token, NOW).await, Err(401), "{change}");
    }
    let mut other = bootstrap(&json!({}));
    other["type"] = json!("Opaque");
    put(other);
    assert_eq!(shows(&authenticator, token, NOW).await, Err(401), "a secret of another type");
    let mut going = bootstrap(&json!({}));
    going["metadata"]["deletionTimestamp"] = json!(at(NOW).to_string());
    put(going);
    assert_eq!(shows(&authenticator, token, NOW).await, Err(401), "a secret that is being deleted");
}

#[tokio::test]
async fn the_administrators_token_is_a_master_and_an_empty_one_is_nobody() {
    let authenticator =
        World::new().authenticator().with_admin_token("open sesame".replace(' ', "-").as_str());
    let user = shows(&authenticator, "open-sesame", NOW).await.expect("it is valid");
    assert_eq!(user.groups, ["system:masters", "system:authenticated"]);
    assert_eq!(shows(&authenticator, "open-sesamf", NOW).await, Err(401));
    let without = World::new().authenticator().with_admin_token("");
    assert_eq!(shows(&without, "", NOW).await, Err(401));
}

#[tokio::test]
async fn who_shows_nothing_sees_health_and_version_only() {
    let authenticator = World::new().authenticator();
    for (path, may) in [
        ("/livez", true),
        ("/readyz/etcd", true),
        ("/healthz", true),
        ("/version", true),
        ("/version/", true),
        ("/versions", false),
        ("/", false),
        ("/api", false),
        ("/metrics", false),
    ] {
        let answer = authenticator.authenticate(None, &HeaderMap::new(), path, at(NOW)).await;
        match answer {
            Ok(user) => {
                assert!(may, "{path}");
                assert_eq!(
                    (user.name.as_str(), user.groups.as_slice()),
                    ("system:anonymous", &["system:unauthenticated".to_string()][..])
                );
            }
            Err(status) => assert_eq!(
                (may, status.code, status.message.as_str()),
                (false, 401, "Unauthorized"),
                "{path}"
            ),
        }
    }
    assert_eq!(shows(&authenticator, "wrong", NOW).await, Err(401), "a wrong token is not taken for none");
}
