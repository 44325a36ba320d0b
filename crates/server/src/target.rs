//! What a request is about, read from its method, path and query: the attributes that everything after goes by.

use http::Method;
use shoal_api::resources::Verb;

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Objects: `/api/v1/…`, `/apis/GROUP/VERSION/…`.
    Resource(ResourceTarget),
    /// Anything else: `/version`, `/openapi/v3`, discovery.
    Path,
}

/// Objects that a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceTarget {
    /// `apps`; empty for the core group.
    pub group: String,
    /// `v1`.
    pub version: String,
    /// `deployments`.
    pub resource: String,
    /// Empty: all namespaces, or a resource without them. Of a namespace itself its own name.
    pub namespace: String,
    /// Whether the path leads through a namespace.
    pub in_namespace: bool,
    /// Empty: all of them.
    pub name: String,
    /// `status`; empty: the object itself.
    pub subresource: String,
    /// What follows the subresource, for those that pass requests on.
    pub rest: String,
    /// What is to be done.
    pub verb: Verb,
}

impl Target {
    /// Reads a request. `watch` is what the query says of it.
    pub fn of(method: &Method, path: &str, watch: bool) -> Self {
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let is_core = parts.first() == Some(&"api");
        let head = if is_core { 2 } else { 3 };
        if parts.len() <= head || !(is_core || parts[0] == "apis") {
            return Self::Path;
        }
        let (group, version) = if is_core {
            (String::new(), parts[1].to_owned())
        } else {
            (parts[1].to_owned(), parts[2].to_owned())
        };
        let watch = if parts[head] == "watch" && parts.len() > head + 1 {
            parts.remove(head);
            true
        } else {
            watch
        };
        let mut target = ResourceTarget::new(group, version);
        target.place(&parts[head..]);
        target.verb = verb(method, watch, !target.name.is_empty());
        Self::Resource(target)
    }
}

impl ResourceTarget {
    fn new(group: String, version: String) -> Self {
        Self {
            group,
            version,
            resource: String::new(),
            namespace: String::new(),
            in_namespace: false,
            name: String::new(),
            subresource: String::new(),
            rest: String::new(),
            verb: Verb::Get,
        }
    }

    fn place(&mut self, parts: &[&str]) {
        // `namespaces/NAME`, its `status` and `finalize` are the namespace itself; all else below it is in it.
        let in_namespace = parts.len() > 2
            && parts[0] == "namespaces"
            && !(parts.len() == 3 && self.group.is_empty() && ["status", "finalize"].contains(&parts[2]));
        self.in_namespace = in_namespace;
        let rest = if in_namespace {
            self.namespace = parts[1].into();
            &parts[2..]
        } else {
            parts
        };
        let mut rest = rest.iter();
        let mut next = || rest.next().map(|part| (*part).to_owned()).unwrap_or_default();
        self.resource = next();
        self.name = next();
        self.subresource = next();
        self.rest = rest.copied().collect::<Vec<_>>().join("/");
        if self.resource == "namespaces" && self.group.is_empty() && !in_namespace {
            self.namespace = self.name.clone();
        }
    }
}

fn verb(method: &Method, watch: bool, has_name: bool) -> Verb {
    match (method, has_name) {
        (&Method::POST, _) => Verb::Create,
        (&Method::PUT, _) => Verb::Update,
        (&Method::PATCH, _) => Verb::Patch,
        (&Method::DELETE, true) => Verb::Delete,
        (&Method::DELETE, false) => Verb::DeleteCollection,
        _ if watch => Verb::Watch,
        (_, true) => Verb::Get,
        (_, false) => Verb::List,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(method: &Method, path: &str) -> String {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        match Target::of(method, path, query.contains("watch=true")) {
            Target::Path => "path".into(),
            Target::Resource(t) => format!(
                "{} {}/{} ns={} {}/{} sub={} rest={}",
                t.verb.name(),
                t.group,
                t.version,
                t.namespace,
                t.resource,
                t.name,
                t.subresource,
                t.rest
            ),
        }
    }

    #[test]
    fn a_path_through_a_namespace_is_told_from_the_namespace_itself() {
        for (path, expected) in [
            ("/api/v1/namespaces/a", false),
            ("/api/v1/namespaces/a/status", false),
            ("/api/v1/namespaces/a/namespaces/a", true),
            ("/api/v1/namespaces/a/nodes", true),
            ("/api/v1/watch/namespaces/a/nodes", true),
            ("/api/v1/nodes/a", false),
            ("/apis/apps/v1/namespaces/a/deployments", true),
        ] {
            let Target::Resource(target) = Target::of(&Method::GET, path, false) else { panic!("{path}") };
            assert_eq!(target.in_namespace, expected, "{path}");
        }
    }

    #[test]
    fn every_form_of_path_is_read() {
        let get = |path| shown(&Method::GET, path);
        assert_eq!(get("/version"), "path");
        assert_eq!(get("/apis/apps/v1"), "path");
        assert_eq!(get("/api/v1/pods"), "list /v1 ns= pods/ sub= rest=");
        assert_eq!(get("/api/v1/pods?watch=true"), "watch /v1 ns= pods/ sub= rest=");
        assert_eq!(get("/api/v1/watch/namespaces/a/pods"), "watch /v1 ns=a pods/ sub= rest=");
        assert_eq!(get("/api/v1/namespaces"), "list /v1 ns= namespaces/ sub= rest=");
        assert_eq!(get("/api/v1/namespaces/a"), "get /v1 ns=a namespaces/a sub= rest=");
        assert_eq!(get("/api/v1/namespaces/a/namespaces/b"), "get /v1 ns=a namespaces/b sub= rest=");
        assert_eq!(get("/api/v1/namespaces/a/status"), "get /v1 ns=a namespaces/a sub=status rest=");
        assert_eq!(get("/api/v1/namespaces/a/pods/b/log"), "get /v1 ns=a pods/b sub=log rest=");
        assert_eq!(
            get("/api/v1/namespaces/a/services/b/proxy/x/y"),
            "get /v1 ns=a services/b sub=proxy rest=x/y"
        );
        assert_eq!(
            shown(&Method::DELETE, "/apis/apps/v1/namespaces/a/deployments"),
            "deletecollection apps/v1 ns=a deployments/ sub= rest="
        );
        assert_eq!(
            shown(&Method::PATCH, "/apis/apps/v1/namespaces/a/deployments/b/scale"),
            "patch apps/v1 ns=a deployments/b sub=scale rest="
        );
        assert_eq!(
            shown(&Method::PUT, "/api/v1/namespaces/a/finalize"),
            "update /v1 ns=a namespaces/a sub=finalize rest="
        );
    }
}
