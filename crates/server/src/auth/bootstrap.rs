//! Bootstrap tokens: a Secret with a token by which a machine joins.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use shoal_api::object;
use shoal_control::rbac::User;

use super::Lookup;

const NAMESPACE: &str = "kube-system";
const PREFIX: &str = "bootstrap-token-";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";

/// One answer for everything that is wrong with a token, so that nobody learns which identifiers there are.
const WRONG: &str = "it is no bootstrap token that is valid";

/// Identifier and secret of a token of this form, `abcdef.0123456789abcdef`.
pub(super) fn split(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (id.len() == 6 && secret.len() == 16 && is_word(id) && is_word(secret)).then_some((id, secret))
}

/// Who shows this token.
///
/// # Errors
/// When there is no such token, or it has expired, or is for something else.
pub(super) async fn authenticate(
    id: &str,
    secret: &str,
    lookup: &dyn Lookup,
    now: Timestamp,
) -> Result<User, String> {
    let found =
        lookup.get("secrets", NAMESPACE, &format!("{PREFIX}{id}")).await.map_err(|status| status.message)?;
    let found = found.ok_or(WRONG)?;
    let data = |key: &str| text(&found, key);
    let known = data("token-secret").ok_or(WRONG)?;
    if verify_slices_are_equal(known.as_bytes(), secret.as_bytes()).is_err()
        || found["type"] != TYPE
        || object::deletion_timestamp(&found).is_some()
        || data("token-id").as_deref() != Some(id)
        || data("usage-bootstrap-authentication").as_deref() != Some("true")
    {
        return Err(WRONG.into());
    }
    if let Some(until) = data("expiration") {
        let until = until.parse::<Timestamp>().map_err(|_| WRONG)?;
        if until <= now {
            return Err(WRONG.into());
        }
    }
    let mut user = User::new(&format!("system:bootstrap:{id}"), &[GROUP]);
    let mut groups: Vec<String> = Vec::new();
    for group in data("auth-extra-groups").unwrap_or_default().split(',').filter(|group| !group.is_empty()) {
        if !is_group(group) {
            return Err(WRONG.into());
        }
        groups.push(group.into());
    }
    groups.sort();
    groups.dedup();
    user.groups.splice(0..0, groups.into_iter().filter(|group| group != GROUP));
    Ok(user)
}

/// Whether a token may give this group: `system:bootstrappers:…` only.
fn is_group(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:") else { return false };
    let is_inside =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b':' | b'-');
    let ends =
        rest.bytes().next_back().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    ends && rest.len() <= 256 && rest.bytes().all(is_inside)
}

/// An entry of `data` as text.
fn text(secret: &Value, key: &str) -> Option<String> {
    let bytes = BASE64_STANDARD.decode(secret["data"][key].as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bootstrap_token_has_a_form_of_its_own() {
        assert_eq!(split("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for token in [
            "",
            "abcdef",
            "abcde.0123456789abcdef",
            "ABCDEF.0123456789abcdef",
            "abcdef.0123456789abcdeg ",
            "abcdef.0123456789.bcdef",
        ] {
            assert_eq!(split(token), None, "{token}");
        }
    }

    #[test]
    fn a_token_gives_groups_of_bootstrappers_only() {
        assert!(is_group("system:bootstrappers:kubeadm:default-node-token"));
        assert!(is_group(&format!("system:bootstrappers:{}", "a".repeat(256))));
        assert!(!is_group(&format!("system:bootstrappers:{}", "a".repeat(257))));
        for group in [
            "system:masters",
            "system:bootstrappers",
            "system:bootstrappers:",
            "system:bootstrappers:a-",
            "system:bootstrappers:A",
        ] {
            assert!(!is_group(group), "{group}");
        }
    }
}
