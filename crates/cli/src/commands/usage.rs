//! From clap's errors to ours: `error:` on one line, each way out as a `hint:`.

use clap::error::ErrorKind;

use crate::exit::{self, Exit};

/// Help and version are answers; everything else is wrong usage, code 64. `verb` is the command that was
/// typed, for errors that do not say it themselves.
pub(crate) fn exit(error: &clap::Error, verb: Option<&str>) -> Exit {
    let rendered = error.render();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Answer(rendered.ansi().to_string()),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Exit::error(exit::USAGE, "no command given").hint("see `shoal --help`")
        }
        _ => wrong_usage(&rendered.to_string(), verb),
    }
}

/// Reads clap's text: a message of one or more lines, then `tip:` lines, then perhaps the usage.
fn wrong_usage(text: &str, verb: Option<&str>) -> Exit {
    let mut what = String::new();
    let mut hints: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage: ")) {
        if let Some(tip) = line.strip_prefix("tip: ") {
            hints.push(tip.into());
        } else if !line.is_empty() && !line.starts_with("For more information") {
            what.push_str(if what.is_empty() { "" } else { " " });
            what.push_str(line.strip_prefix("error: ").unwrap_or(line));
        }
    }
    let command = verb.map_or_else(|| "shoal".to_string(), |verb| format!("shoal {verb}"));
    hints.push(format!("see `{command} --help`"));
    hints.into_iter().fold(Exit::error(exit::USAGE, what), Exit::hint)
}
