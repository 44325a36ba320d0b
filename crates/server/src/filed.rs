//! Which objects are filed under which words: the index behind [`shoal_control::snapshot::Snapshot::filed`].

use std::collections::BTreeSet;
use std::ops::Bound;

use bytes::Bytes;

/// Keys of objects by the words that they are filed under. A key begins with its table and its namespace.
#[derive(Debug, Default)]
pub(crate) struct Filed(BTreeSet<(Box<str>, Bytes)>);

impl Filed {
    /// Files a key under words, or takes it from them.
    pub(crate) fn set(&mut self, key: &Bytes, words: Vec<String>, is: bool) {
        for word in words {
            let place = (word.into_boxed_str(), key.clone());
            if is {
                self.0.insert(place);
            } else {
                self.0.remove(&place);
            }
        }
    }

    /// The keys with a prefix that are filed under each of some words, in their order. None for no words.
    ///
    /// As long as it takes to go through the rarest of them, for each.
    pub(crate) fn find(&self, prefix: &[u8], words: &[String]) -> Vec<Bytes> {
        let mut all: Vec<_> = words.iter().map(|word| self.under(prefix, word)).collect();
        let Some(rarest) = rarest(&mut all) else { return Vec::new() };
        let others = words.iter().enumerate().filter(|(index, _)| *index != rarest);
        let others: Vec<Box<str>> = others.map(|(_, word)| word.as_str().into()).collect();
        let has_all = |key: &&Bytes| {
            others.iter().all(|word| self.under(key, word).next().is_some_and(|first| first == *key))
        };
        self.under(prefix, &words[rarest]).filter(has_all).cloned().collect()
    }

    fn under<'a>(&'a self, prefix: &'a [u8], word: &'a str) -> impl Iterator<Item = &'a Bytes> {
        let from: (Box<str>, Bytes) = (word.into(), Bytes::copy_from_slice(prefix));
        let range = self.0.range((Bound::Included(from), Bound::Unbounded));
        range.take_while(move |(of, key)| **of == *word && key.starts_with(prefix)).map(|(_, key)| key)
    }
}

/// Which of some iterators ends first; none when there are none. All go on by as much.
fn rarest<I: Iterator>(all: &mut [I]) -> Option<usize> {
    if all.is_empty() {
        return None;
    }
    loop {
        let ended = all.iter_mut().position(|one| one.next().is_none());
        if ended.is_some() {
            return ended;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_all_of_their_words_and_their_prefix() {
        let mut filed = Filed::default();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        for (key, of) in [
            ("pods/a/1", &["app=x", "tier=web"][..]),
            ("pods/a/2", &["app=x", "tier=db"]),
            ("pods/a/22", &["tier=db"]),
            ("pods/b/3", &["app=x", "tier=web"]),
            ("services/a/4", &["app=x"]),
        ] {
            filed.set(&Bytes::from_static(key.as_bytes()), words(of), true);
        }
        let find = |filed: &Filed, prefix: &str, of: &[&str]| filed.find(prefix.as_bytes(), &words(of));
        for (prefix, of, expected) in [
            ("pods/a/", &["app=x"][..], &["pods/a/1", "pods/a/2"][..]),
            ("pods/a/", &["app=x", "tier=db"], &["pods/a/2"]),
            ("pods/a/", &["tier=db", "app=x"], &["pods/a/2"]),
            ("pods/a/", &["tier=db"], &["pods/a/2", "pods/a/22"]),
            ("pods/", &["app=x", "tier=web"], &["pods/a/1", "pods/b/3"]),
            ("pods/a/", &["app=x", "app=y"], &[]),
            ("pods/c/", &["app=x"], &[]),
            ("pods/a/", &[], &[]),
        ] {
            assert_eq!(find(&filed, prefix, of), expected, "{prefix} {of:?}");
        }
        filed.set(&Bytes::from_static(b"pods/a/2"), words(&["app=x", "never=there"]), false);
        assert_eq!(find(&filed, "pods/a/", &["app=x"]), ["pods/a/1"]);
        assert_eq!(find(&filed, "pods/a/", &["tier=db"]), ["pods/a/2", "pods/a/22"]);
    }
}
