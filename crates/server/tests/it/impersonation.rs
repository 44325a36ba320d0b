//! Acting as somebody else.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use shoal_control::rbac::{Authorizer, User};
use shoal_server::auth::impersonated;

/// `helper` may be the user `bob`, anybody in the group `dev`, the account `default/bot`, and tell scopes `view`.
fn authorizer() -> Authorizer {
    let mut authorizer = Authorizer::default();
    let rule = |group: &str, resource: &str, name: &str| json!({"verbs": ["impersonate"], "apiGroups": [group], "resources": [resource], "resourceNames": [name]});
    authorizer.apply(&json!({
        "kind": "ClusterRole", "metadata": {"name": "helper"},
        "rules": [
            rule("", "users", "bob"), rule("", "users", "system:anonymous"), rule("", "groups", "dev"),
            rule("", "serviceaccounts", "bot"), rule("authentication.k8s.io", "userextras/scopes", "view"),
            rule("authentication.k8s.io", "uids", "u1"),
        ],
    }));
    authorizer.apply(&json!({
        "kind": "ClusterRoleBinding", "metadata": {"name": "helper"}, "roleRef": {"kind": "ClusterRole", "name": "helper"},
        "subjects": [{"kind": "User", "name": "helper"}],
    }));
    authorizer
}

fn ask(user: &User, headers: &[(&str, &str)]) -> Result<Option<User>, (u16, String)> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a header");
        map.append(HeaderName::from_bytes(name.as_bytes()).expect("a name"), value);
    }
    impersonated(&map, user, &authorizer()).map_err(|status| (status.code, status.message))
}

#[test]
fn who_may_be_somebody_else_is_them() {
    let helper = User::new("helper", &["system:authenticated"]);
    assert_eq!(ask(&helper, &[]), Ok(None));
    for (headers, name, groups) in [
        (&[("Impersonate-User", "bob")][..], "bob", &["system:authenticated"][..]),
        (
            &[("Impersonate-User", "bob"), ("Impersonate-Group", "dev")],
            "bob",
            &["dev", "system:authenticated"],
        ),
        (
            &[("Impersonate-User", "system:serviceaccount:default:bot")],
            "system:serviceaccount:default:bot",
            &["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"],
        ),
        (&[("Impersonate-User", "system:anonymous")], "system:anonymous", &["system:unauthenticated"]),
    ] {
        let user = ask(&helper, headers).expect("it may").expect("somebody else");
        assert_eq!(
            (user.name.as_str(), user.groups),
            (name, groups.iter().map(ToString::to_string).collect::<Vec<_>>())
        );
    }
    let headers =
        [("Impersonate-User", "bob"), ("Impersonate-Uid", "u1"), ("Impersonate-Extra-%73copes", "view")];
    let user = ask(&helper, &headers).expect("it may").expect("somebody else");
    assert_eq!((user.uid.as_str(), user.extra["scopes"].as_slice()), ("u1", &["view".to_string()][..]));
    let admin = User::new("admin", &["system:masters"]);
    assert_eq!(
        ask(&admin, &[("Impersonate-User", "jürgen")]).expect("it may").expect("somebody else").name,
        "jürgen"
    );
}

#[test]
fn who_may_not_is_told_as_by_kubernetes() {
    let helper = User::new("helper", &["system:authenticated"]);
    let forbidden = |what: &str, name: &str, resource: &str, group: &str| {
        let message = format!(
            "{what} {name:?} is forbidden: User \"helper\" cannot impersonate resource {resource:?} in API group {group:?} at the cluster scope"
        );
        (403, message)
    };
    let bob = ("Impersonate-User", "bob");
    for (headers, answer) in [
        (&[("Impersonate-User", "root")][..], forbidden("users", "root", "users", "")),
        (&[bob, ("Impersonate-Group", "dev"), ("Impersonate-Group", "system:masters")], forbidden("groups", "system:masters", "groups", "")),
        (&[bob, ("Impersonate-Extra-Scopes", "edit")], forbidden("userextras.authentication.k8s.io", "edit", "userextras/scopes", "authentication.k8s.io")),
        (&[bob, ("Impersonate-Uid", "u2")], forbidden("uids.authentication.k8s.io", "u2", "uids", "authentication.k8s.io")),
        (
            &[("Impersonate-User", "system:serviceaccount:kube-system:root")],
            (403, "serviceaccounts \"root\" is forbidden: User \"helper\" cannot impersonate resource \"serviceaccounts\" in API group \"\" in the namespace \"kube-system\"".into()),
        ),
        (&[("Impersonate-User", "")], (400, "the header Impersonate-User names nobody".into())),
        (
            &[("Impersonate-Group", "dev")],
            (500, "Internal error occurred: requested groups, uid or extra without impersonating a user".into()),
        ),
    ] {
        assert_eq!(ask(&helper, headers), Err(answer), "{headers:?}");
    }
}

#[test]
fn a_name_that_is_no_text_is_not_taken_for_none() {
    let mut headers = HeaderMap::new();
    headers.insert("impersonate-user", HeaderValue::from_bytes(b"\xff").expect("a header"));
    let admin = User::new("admin", &["system:masters"]);
    assert_eq!(impersonated(&headers, &admin, &authorizer()).expect_err("no text").code, 400);
}

#[test]
fn a_request_impersonates_so_many_names_at_most() {
    let admin = User::new("admin", &["system:masters"]);
    let mut headers = vec![("Impersonate-User", "bob")];
    headers.extend(std::iter::repeat_n(("Impersonate-Group", "dev"), 256));
    assert!(ask(&admin, &headers).is_ok());
    headers.push(("Impersonate-Group", "dev"));
    assert_eq!(ask(&admin, &headers).expect_err("too many").0, 400);
}
