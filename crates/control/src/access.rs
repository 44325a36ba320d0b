//! Who asks, and whether somebody may: what admission and the approval of certificates need of authorization.

use crate::rbac::Attributes;
pub use crate::rbac::User;

/// Decides who may do what.
pub trait Authorize: Send + Sync {
    /// Whether `user` may do what `asked` says.
    fn allows(&self, user: &User, asked: &Attributes<'_>) -> bool;
}
