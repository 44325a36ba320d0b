//! From host and path to a route. Found in a few look-ups, however many hosts and paths there are.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// The routes of all hosts, each leading to an `R`.
#[derive(Debug)]
pub(crate) struct Hosts<R> {
    named: HashMap<Box<str>, Paths<R>>,
    /// By what follows the `*.`.
    wild: HashMap<Box<str>, Paths<R>>,
    any: Paths<R>,
}

/// The paths of one host. They are compared and not hashed: most hosts have few, and paths are long.
#[derive(Debug)]
struct Paths<R> {
    exact: BTreeMap<Box<str>, R>,
    /// By the path without a final slash.
    prefix: BTreeMap<Box<str>, R>,
    /// How many bytes prefixes have, each number once, the largest first: no others need be looked for.
    lengths: Vec<usize>,
}

/// Bytes of the longest path that a route may have. No more of a request's path is compared, however long it is.
pub(crate) const PATH_BYTES_MAX: usize = 1024;

/// What is found for a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Match<'a, R> {
    Route(&'a R),
    /// The host has routes, and none of them takes the path.
    NoPath,
    NoHost,
}

impl<R> Default for Hosts<R> {
    fn default() -> Self {
        Self { named: HashMap::new(), wild: HashMap::new(), any: Paths::default() }
    }
}

impl<R> Default for Paths<R> {
    fn default() -> Self {
        Self { exact: BTreeMap::new(), prefix: BTreeMap::new(), lengths: Vec::new() }
    }
}

impl<R> Hosts<R> {
    /// Adds a route. `host`: in lower case; empty for every host; `*.` and a name for names with one label more.
    /// `path`: as it is when `is_exact`; else the beginning of paths, whole elements only; at most [`PATH_BYTES_MAX`].
    pub(crate) fn insert(&mut self, host: &str, path: &str, is_exact: bool, route: R) {
        let paths = match host.strip_prefix("*.") {
            Some(suffix) => self.wild.entry(suffix.into()).or_default(),
            None if host.is_empty() => &mut self.any,
            None => self.named.entry(host.into()).or_default(),
        };
        paths.insert(path, is_exact, route);
    }

    /// The route of a request: of the most specific host that has one for the path; of its paths the longest, an
    /// exact one before a prefix. `host` may have a port, capitals and a final dot.
    pub(crate) fn find(&self, host: &str, path: &str) -> Match<'_, R> {
        let host = plain(host);
        let named = self.named.get(host.as_ref());
        let suffix = || host.split_once('.').map(|(_, suffix)| suffix);
        let wild =
            if self.wild.is_empty() { None } else { suffix().and_then(|suffix| self.wild.get(suffix)) };
        let found = [named, wild, Some(&self.any)].into_iter().flatten().find_map(|paths| paths.find(path));
        match found {
            Some(route) => Match::Route(route),
            None if named.is_some() || wild.is_some() => Match::NoPath,
            None => Match::NoHost,
        }
    }
}

impl<R> Paths<R> {
    fn insert(&mut self, path: &str, is_exact: bool, route: R) {
        if is_exact {
            self.exact.insert(path.into(), route);
            return;
        }
        let path = path.trim_end_matches('/');
        if let Err(at) = self.lengths.binary_search_by(|known| path.len().cmp(known)) {
            self.lengths.insert(at, path.len());
        }
        self.prefix.insert(path.into(), route);
    }

    fn find(&self, path: &str) -> Option<&R> {
        let exact = if path.len() <= PATH_BYTES_MAX { self.exact.get(path) } else { None };
        exact.or_else(|| self.beginnings(path).find_map(|beginning| self.prefix.get(beginning)))
    }

    /// The beginnings of a path that may be prefixes, the longest first, down to the empty one, which `/` is kept
    /// as. They are no more than there are lengths, whatever a client sends.
    fn beginnings<'a>(&self, path: &'a str) -> impl Iterator<Item = &'a str> {
        let is_whole = move |length: &usize| {
            *length == path.len() || path.as_bytes().get(*length).is_some_and(|byte| *byte == b'/')
        };
        self.lengths.iter().copied().filter(is_whole).map(move |length| &path[..length])
    }
}

/// Bytes of a host that is not as routes have it.
static ODD: [bool; 256] = {
    let mut odd = [false; 256];
    let mut byte = 0;
    while byte < odd.len() {
        odd[byte] = matches!(byte as u8, b':' | b'[' | b'A'..=b'Z');
        byte += 1;
    }
    odd
};

/// The host without its port, in lower case, without a final dot.
pub(crate) fn plain(host: &str) -> Cow<'_, str> {
    // Nearly all are: one look at each byte tells.
    if !host.bytes().fold(false, |is_odd, byte| is_odd | ODD[usize::from(byte)]) {
        return Cow::Borrowed(host.strip_suffix('.').unwrap_or(host));
    }
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => host.split(':').next().unwrap_or(host),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(routes: &[(&str, &str, bool)]) -> Hosts<String> {
        let mut hosts = Hosts::default();
        for (host, path, is_exact) in routes {
            let kind = if *is_exact { "=" } else { "~" };
            hosts.insert(host, path, *is_exact, format!("{host}{kind}{path}"));
        }
        hosts
    }

    fn check(routes: &[(&str, &str, bool)], asked: &[(&str, &str, &str)]) {
        let hosts = hosts(routes);
        for (host, path, wanted) in asked {
            let found = match hosts.find(host, path) {
                Match::Route(route) => route.as_str(),
                Match::NoPath => "no path",
                Match::NoHost => "no host",
            };
            assert_eq!(found, *wanted, "{host} {path}");
        }
    }

    /// The table of the Ingress documentation, "Examples" of path matching.
    #[test]
    fn paths_match_as_kubernetes_says() {
        for (prefix, path, matches) in [
            ("/", "/any/path", true),
            ("/", "/", true),
            ("/foo", "/foo", true),
            ("/foo", "/foo/", true),
            ("/foo/", "/foo", true),
            ("/foo/", "/foo/", true),
            ("/aaa/bb", "/aaa/bbb", false),
            ("/aaa/bbb", "/aaa/bbb", true),
            ("/aaa/bbb/", "/aaa/bbb", true),
            ("/aaa/bbb", "/aaa/bbb/", true),
            ("/aaa/bbb", "/aaa/bbb/ccc", true),
            ("/aaa/bbb", "/aaa/bbbxyz", false),
            ("/aaa", "/ccc", false),
            ("/", "*", false),
        ] {
            let found = matches!(hosts(&[("a", prefix, false)]).find("a", path), Match::Route(_));
            assert_eq!(found, matches, "{prefix} {path}");
        }
        for (exact, path, matches) in [
            ("/foo", "/foo", true),
            ("/foo", "/bar", false),
            ("/foo", "/foo/", false),
            ("/foo/", "/foo", false),
        ] {
            let found = matches!(hosts(&[("a", exact, true)]).find("a", path), Match::Route(_));
            assert_eq!(found, matches, "{exact} {path}");
        }
    }

    #[test]
    fn the_longest_path_wins_and_an_exact_one_before_a_prefix() {
        check(
            &[
                ("a", "/", false),
                ("a", "/x", false),
                ("a", "/x/y", true),
                ("a", "/x/y", false),
                ("a", "/long/er/path", false),
            ],
            &[
                ("a", "/z", "a~/"),
                ("a", "/x/z", "a~/x"),
                ("a", "/x/y", "a=/x/y"),
                ("a", "/x/y/", "a~/x/y"),
                ("a", "/xy", "a~/"),
                ("a", "//", "a~/"),
                ("a", "/long/er/path/that/goes/on", "a~/long/er/path"),
            ],
        );
    }

    #[test]
    fn a_long_path_is_looked_for_no_oftener_than_there_are_lengths() {
        let long = format!("/{}", "a".repeat(PATH_BYTES_MAX - 1));
        let routes = [("a", "/", false), ("a", "/x", false), ("a", "/y", false), ("a", long.as_str(), false)];
        let mut paths = Paths::default();
        routes.iter().for_each(|(_, path, is_exact)| paths.insert(path, *is_exact, ()));
        let slashes = "/".repeat(64 << 10);
        assert_eq!(paths.beginnings(&slashes).count(), 3, "of 0, 2 and 1,024 bytes");
        let (below, longer) = (format!("{long}/b"), format!("{long}b"));
        check(
            &routes,
            &[
                ("a", &slashes, "a~/"),
                ("a", &long, &format!("a~{long}")),
                ("a", &below, &format!("a~{long}")),
                ("a", &longer, "a~/"),
                ("a", "/x/ü", "a~/x"),
                ("a", "/ü", "a~/"),
            ],
        );
    }

    #[test]
    fn the_most_specific_host_that_takes_the_path_wins() {
        check(
            &[
                ("shop.test", "/", false),
                ("*.shop.test", "/", false),
                ("api.shop.test", "/v1", false),
                ("", "/healthz", true),
            ],
            &[
                ("shop.test", "/", "shop.test~/"),
                ("SHOP.test.:8080", "/", "shop.test~/"),
                ("www.shop.test:443", "/", "*.shop.test~/"),
                ("api.shop.test", "/v1/x", "api.shop.test~/v1"),
                ("api.shop.test", "/v2", "*.shop.test~/"),
                ("a.www.shop.test", "/", "no host"),
                ("shop.test.evil", "/", "no host"),
                ("other", "/healthz", "=/healthz"),
                ("[::1]:80", "/healthz", "=/healthz"),
                ("", "/", "no host"),
            ],
        );
        check(&[("a", "/x", false)], &[("a", "/y", "no path"), ("b", "/x", "no host")]);
    }
}
