//! The names of interfaces: `wasi:http/types@0.2.6`.

use shoal_runtime::Wasi;

/// An interface name in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interface<'a> {
    path: &'a str,
    version: Option<&'a str>,
}

impl<'a> Interface<'a> {
    /// Reads `namespace:package/interface@version`, with or without the version. Plain names give none.
    pub(super) fn parse(name: &'a str) -> Option<Self> {
        let (path, version) = match name.split_once('@') {
            Some((path, version)) => (path, Some(version)),
            None => (name, None),
        };
        let (namespace, rest) = path.split_once(':')?;
        let (package, interface) = rest.split_once('/')?;
        let whole = !namespace.is_empty() && !package.is_empty() && !interface.is_empty();
        whole.then_some(Self { path, version })
    }

    /// The name without its version: `wasi:http/types`.
    pub(super) fn path(&self) -> &'a str {
        self.path
    }

    /// The package: `wasi:http`.
    pub(super) fn package(&self) -> &'a str {
        self.path.split_once('/').map_or(self.path, |(package, _)| package)
    }

    /// The version as written.
    pub(super) fn version(&self) -> Option<&'a str> {
        self.version
    }

    /// The WASI release that the version belongs to, when it is a released one: drafts and release
    /// candidates differ from every release and are not linked.
    pub(super) fn wasi(&self) -> Option<Wasi> {
        let is_wasi = self.path.starts_with("wasi:");
        let (release, patch) = self.version?.rsplit_once('.')?;
        let released = is_wasi && !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit());
        match release {
            "0.2" if released => Some(Wasi::P2),
            "0.3" if released => Some(Wasi::P3),
            _ => None,
        }
    }
}

/// Every WASI version that is named, each once, in ascending order; `preview1` for modules that import it.
pub(super) fn wasi_versions(imports: &[String], interfaces: &[Interface<'_>]) -> Vec<String> {
    let of_interfaces =
        interfaces.iter().filter(|i| i.package().starts_with("wasi:")).filter_map(Interface::version);
    let preview1 = imports.iter().any(|name| name.starts_with("wasi_snapshot_preview1::"));
    let mut versions: Vec<&str> = of_interfaces.chain(preview1.then_some("preview1")).collect();
    versions.sort_by_cached_key(|version| (numbers(version), version.len(), version.to_string()));
    versions.dedup();
    versions.into_iter().map(String::from).collect()
}

/// The numbers of a version, so that `0.2.10` comes after `0.2.9`.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_in_its_parts() {
        let name = Interface::parse("wasi:http/types@0.2.10").expect("an interface");
        assert_eq!(
            (name.path(), name.package(), name.version()),
            ("wasi:http/types", "wasi:http", Some("0.2.10"))
        );
        for plain in ["run", "", ":", "a:", "a:/b", ":b/c", "a:b/", "unlocked-dep=<a:b>"] {
            assert_eq!(Interface::parse(plain), None, "{plain}");
        }
    }

    #[test]
    fn drafts_belong_to_no_release() {
        for (name, wasi) in [
            ("wasi:cli/run@0.2.0", Some(Wasi::P2)),
            ("wasi:cli/run@0.2.12", Some(Wasi::P2)),
            ("wasi:cli/run@0.3.0", Some(Wasi::P3)),
            ("wasi:cli/run@0.2.0-rc-2023-11-10", None),
            ("wasi:cli/run@0.3.0-rc-2025-09-16", None),
            ("wasi:cli/run@0.20.1", None),
            ("wasi:cli/run@0.2", None),
            ("wasi:cli/run@0.2.", None),
            ("wasi:cli/run", None),
            ("acme:cli/run@0.2.0", None),
        ] {
            assert_eq!(Interface::parse(name).and_then(|i| i.wasi()), wasi, "{name}");
        }
    }

    #[test]
    fn versions_are_in_order_and_once() {
        let names = ["wasi:io/streams@0.2.10", "wasi:io/poll@0.2.9", "wasi:io/error@0.2.10", "a:b/c@9.9.9"];
        let interfaces: Vec<_> = names.iter().filter_map(|name| Interface::parse(name)).collect();
        assert_eq!(wasi_versions(&[], &interfaces), ["0.2.9", "0.2.10"]);
        assert_eq!(wasi_versions(&["wasi_snapshot_preview1::fd_write".into()], &[]), ["preview1"]);
    }
}
