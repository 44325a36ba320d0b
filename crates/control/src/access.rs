//! Who asks, and whether somebody may: what admission and the approval of certificates need of authorization.

pub use crate::rbac::User;

/// What somebody would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access<'a> {
    /// `get`, `approve`, …
    pub verb: &'a str,
    /// Group of the resource; empty for the core group.
    pub group: &'a str,
    /// Version of the resource; `*` where it does not matter.
    pub version: &'a str,
    /// `deployments`.
    pub resource: &'a str,
    /// `status`; empty for the resource itself.
    pub subresource: &'a str,
    /// Empty for what lives in none.
    pub namespace: &'a str,
    /// Empty for all.
    pub name: &'a str,
}

/// Decides who may do what.
pub trait Authorize: Send + Sync {
    /// Whether `user` may do `access`.
    fn allows(&self, user: &User, access: &Access<'_>) -> bool;
}
