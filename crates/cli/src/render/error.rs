//! `error:` says what, on which object; each `hint:` says what to do next.

use std::fmt::Write as _;

use anstyle::Style;

use super::{BAD, NAME, WARNING, styled};
use crate::exit::Complaint;

/// An error that ends the process.
pub fn error(complaint: &Complaint) -> String {
    labelled(BAD, "error", &complaint.what, complaint.hints.iter().map(String::as_str))
}

/// Something that went wrong while work goes on, such as a reload that was refused.
pub fn warning(what: &str, hint: Option<&str>) -> String {
    labelled(WARNING, "warning", what, hint)
}

fn labelled<'a>(style: Style, label: &str, what: &str, hints: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = format!("{} {what}\n", styled(style, &format!("{label}:")));
    for hint in hints {
        let _ = writeln!(text, "{} {hint}", styled(NAME, "hint:"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::stripped;

    #[test]
    fn an_error_is_followed_by_its_ways_out() {
        let complaint = Complaint {
            code: 69,
            what: "cannot listen on 127.0.0.1:80: permission denied".into(),
            hints: vec!["choose a port above 1023".into(), "or give the program CAP_NET_BIND_SERVICE".into()],
        };
        let text = error(&complaint);
        assert!(text.starts_with("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m "), "{text:?}");
        assert_eq!(
            stripped(&text),
            "error: cannot listen on 127.0.0.1:80: permission denied\n\
             hint: choose a port above 1023\n\
             hint: or give the program CAP_NET_BIND_SERVICE\n"
        );
    }

    #[test]
    fn a_warning_may_stand_alone() {
        assert_eq!(
            stripped(&warning("app.wasm was not reloaded", None)),
            "warning: app.wasm was not reloaded\n"
        );
    }
}
