//! Names of containers and objects, and the file names that stand for them.
//!
//! A name may be any text; a file name may not. Letters and digits of any script, and `- _ . ~ + = , @ ( )` and
//! space, stand for themselves; every other character is written as `%XX` for each of its bytes in UTF-8, and
//! so is a dot at the beginning. So no name can be `.`, `..`, hold a `/` or a NUL, or meet the host's own files,
//! all of which begin with a dot; and two names never share a file.

use std::fmt::Write as _;

use super::Outcome;
use crate::capability::text::shown;

/// Longest file name that a name may need: Linux allows 255, some copies and archives add a suffix.
pub(super) const FILE_NAME_BYTES_MAX: usize = 240;

/// Checks that the name can be stored, in memory as in a directory.
///
/// # Errors
/// A sentence for the guest when the name is empty or too long.
pub(super) fn check(name: &str) -> Outcome<()> {
    if name.is_empty() {
        return Err("the name is empty".into());
    }
    // Encoding never shortens: a name that is too long already need not be encoded.
    let bytes = if name.len() > FILE_NAME_BYTES_MAX { name.len() } else { encode(name).len() };
    if bytes > FILE_NAME_BYTES_MAX {
        return Err(format!(
            "the name `{}` needs {bytes} bytes; at most {FILE_NAME_BYTES_MAX} (a character other than letters, \
             digits and -_.~+=,@() counts three for each byte)",
            shown(name)
        ));
    }
    Ok(())
}

/// The file name that stands for this name.
pub(super) fn encode(name: &str) -> String {
    let mut file = String::with_capacity(name.len());
    for (index, c) in name.char_indices() {
        if stands_for_itself(c) && !(index == 0 && c == '.') {
            file.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            let _ = write!(file, "%{byte:02X}");
        }
    }
    file
}

/// The name that this file name stands for; none: the file is not ours.
pub(super) fn decode(file: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(file.len());
    let mut rest = file.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        };
        bytes.push(byte);
    }
    let name = String::from_utf8(bytes).ok()?;
    // Only the one spelling that `encode` makes is ours: two files never stand for one name.
    (encode(&name) == file && !name.is_empty()).then_some(name)
}

fn stands_for_itself(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '+' | '=' | ',' | '@' | '(' | ')' | ' ')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_become_harmless_file_names() {
        for (name, file) in [
            ("report-2024_v1.pdf", "report-2024_v1.pdf"),
            ("photos/köln 1.jpg", "photos%2Fköln 1.jpg"),
            (".", "%2E"),
            ("..", "%2E."),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            (".tmp", "%2Etmp"),
            ("a\0b\n%41", "a%00b%0A%2541"),
            ("\u{202e}x", "%E2%80%AEx"),
        ] {
            assert_eq!(encode(name), file);
            assert_eq!(decode(file).as_deref(), Some(name));
        }
    }

    #[test]
    fn files_that_no_name_makes_are_not_ours() {
        for file in ["", ".tmp", "%41", "%2f", "a%", "a%2", "a%zz", "a%FF", "a/b", "%+1"] {
            assert_eq!(decode(file), None, "{file}");
        }
    }

    #[test]
    fn a_name_fits_up_to_its_limit() {
        assert_eq!(check(&"x".repeat(FILE_NAME_BYTES_MAX)), Ok(()));
        assert!(check(&"x".repeat(FILE_NAME_BYTES_MAX + 1)).is_err());
        assert_eq!(check(&"/".repeat(FILE_NAME_BYTES_MAX / 3)), Ok(()));
        assert!(check(&"/".repeat(FILE_NAME_BYTES_MAX / 3 + 1)).is_err());
        assert!(check("").is_err());
    }

    proptest! {
        #[test]
        fn every_name_comes_back_and_is_one_harmless_path_component(name in any::<String>()) {
            prop_assume!(!name.is_empty());
            let file = encode(&name);
            prop_assert_eq!(decode(&file), Some(name));
            prop_assert!(!file.starts_with('.') && !file.contains(['/', '\0', '\\']));
        }

        #[test]
        fn a_file_name_that_decodes_is_the_one_that_the_name_makes(file in any::<String>()) {
            if let Some(name) = decode(&file) {
                prop_assert_eq!(encode(&name), file);
            }
        }
    }
}
