//! Acting as somebody else, by headers.

use http::{HeaderMap, HeaderValue};
use shoal_api::Status;
use shoal_control::rbac::{
    ANONYMOUS, AUTHENTICATED, Attributes, Authorizer, UNAUTHENTICATED, User, service_account_groups,
    split_service_account_name,
};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// Names that one request may ask to be, each of which is a decision. Real ones ask for a handful.
pub(super) const IMPERSONATIONS_MAX: usize = 256;

/// Whom the request wants to be, when `user` may be all of that; none when it does not want to be anybody else.
///
/// # Errors
/// 403 when the user may not, in the words of Kubernetes; 400 or 500 when the headers make no sense.
pub fn impersonated(
    headers: &HeaderMap,
    user: &User,
    authorizer: &Authorizer,
) -> Result<Option<User>, Status> {
    let text = |header: &str| headers.get(header).map(text).transpose();
    let groups = texts(headers.get_all(GROUP).iter())?;
    let extra = extra(headers)?;
    let (name, uid) = (text(USER)?, text(UID)?.unwrap_or_default());
    if groups.len() + extra.len() > IMPERSONATIONS_MAX {
        return Err(Status::bad_request(format!(
            "a request may impersonate at most {IMPERSONATIONS_MAX} names"
        )));
    }
    // A header without a name may come from a proxy that would go on as itself: it is refused.
    if name == Some("") {
        return Err(Status::bad_request("the header Impersonate-User names nobody"));
    }
    let Some(name) = name else {
        if groups.is_empty() && extra.is_empty() && uid.is_empty() {
            return Ok(None);
        }
        return Err(Status::internal("requested groups, uid or extra without impersonating a user"));
    };
    let may = |group: &str, resource: &str, namespace: &str, subresource: &str, name: &str| {
        let attributes = Attributes::resource("impersonate", group, resource, namespace, name);
        authorizer.require(user, &Attributes { subresource, ..attributes })
    };
    let mut other = User { name: name.into(), ..User::default() };
    match split_service_account_name(name) {
        Some((namespace, name)) => {
            may("", "serviceaccounts", namespace, "", name)?;
            if groups.is_empty() {
                other.groups = service_account_groups(namespace);
            }
        }
        None => may("", "users", "", "", name)?,
    }
    for group in groups {
        may("", "groups", "", "", &group)?;
        other.groups.push(group);
    }
    for (key, value) in extra {
        may("authentication.k8s.io", "userextras", "", &key, &value)?;
        other.extra.entry(key).or_default().push(value);
    }
    if !uid.is_empty() {
        may("authentication.k8s.io", "uids", "", "", uid)?;
        other.uid = uid.into();
    }
    let is_in_one = other.is_in(AUTHENTICATED) || other.is_in(UNAUTHENTICATED);
    if name == ANONYMOUS && !other.is_in(UNAUTHENTICATED) {
        other.groups.push(UNAUTHENTICATED.into());
    } else if name != ANONYMOUS && !is_in_one {
        other.groups.push(AUTHENTICATED.into());
    }
    Ok(Some(other))
}

/// Keys, lower-case and unescaped, with each of their values.
fn extra(headers: &HeaderMap) -> Result<Vec<(String, String)>, Status> {
    let mut extra = Vec::new();
    for name in headers.keys() {
        let Some(key) = name.as_str().strip_prefix(EXTRA) else { continue };
        let key = unescaped(key).unwrap_or_else(|| key.to_string());
        extra.extend(texts(headers.get_all(name).iter())?.into_iter().map(|value| (key.clone(), value)));
    }
    Ok(extra)
}

fn texts<'a>(values: impl Iterator<Item = &'a HeaderValue>) -> Result<Vec<String>, Status> {
    values.map(|value| text(value).map(String::from)).collect()
}

/// What is no text is refused: left out, the request would go on as somebody else than was meant.
fn text(value: &HeaderValue) -> Result<&str, Status> {
    let refuse = |_| Status::bad_request("headers of impersonation must be UTF-8");
    std::str::from_utf8(value.as_bytes()).map_err(refuse)
}

/// Percent escapes undone; none when they are no escapes, or give no text.
fn unescaped(key: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_or_left_alone() {
        assert_eq!(unescaped("acme.com%2fproject").as_deref(), Some("acme.com/project"));
        for key in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(unescaped(key), None, "{key}");
        }
    }
}
