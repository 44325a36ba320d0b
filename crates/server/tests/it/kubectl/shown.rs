//! What kubectl prints, without what is another each time.

use super::tool::Output;

/// Letters that are drawn for the end of a name.
const DRAWN_LETTERS: usize = 5;
/// Names that end in drawn letters.
const DRAWN_NAMES: [&str; 5] = ["kube-api-access-", "generated-", "csr-", "node-debugger-", "debugger-"];
/// Keys, as kubectl prints objects, whose values are drawn or counted.
const DRAWN_VALUES: [(&str, &str); 4] = [
    ("resourceVersion: ", "<revision>"),
    ("\"resourceVersion\": ", "<revision>"),
    ("Resource Version:  ", "<revision>"),
    ("pid: ", "<pid>"),
];

/// Shapes of times within a line: digits are `0`, letters `a` and `A`.
const TIMES: [&str; 4] = [
    "Aaa, 00 Aaa 0000 00:00:00 +0000",
    "0000-00-00 00:00:00 +0000 AAA",
    "Aaa Aaa 00 00:00:00 0000",
    "Aaa Aaa  0 00:00:00 0000",
];

/// The lines below a command.
pub(super) fn shown(output: &Output, address: &str) -> String {
    let mut text = String::new();
    for (prefix, stream) in [("  ", &output.stdout), ("! ", &output.stderr)] {
        for line in stream.lines() {
            text += format!("{prefix}{}", even(line, address)).trim_end();
            text.push('\n');
        }
    }
    match output.code {
        Some(0) => {}
        Some(code) => text += &format!("= {code}\n"),
        None => text += "= a signal\n",
    }
    text
}

/// A line without ids, ages, times, addresses; the gaps between columns all alike, since their widths depend on these.
fn even(line: &str, address: &str) -> String {
    let line = line.replace(address, "<server>").replace('\t', "    ");
    let line = human_time(&line);
    for (key, value) in DRAWN_VALUES {
        if let Some((before, _)) = line.split_once(key)
            && before.trim().is_empty()
        {
            return format!("{before}{key}{value}");
        }
    }
    let indent = line.len() - line.trim_start().len();
    let mut words: Vec<String> = Vec::new();
    let mut blanks = 0;
    for word in line[indent..].split(' ') {
        if word.is_empty() {
            blanks += 1;
            continue;
        }
        if !words.is_empty() {
            words.push(if blanks > 0 { "   ".into() } else { " ".into() });
        }
        blanks = 0;
        words.push(plain(word));
    }
    format!("{}{}", &line[..indent], words.concat())
}

/// A word without what was drawn, counted or measured for it.
fn plain(word: &str) -> String {
    let core = word.trim_matches(['(', ')', ',', '"', '\'', '[', ']']);
    let put = |value: &str| word.replace(core, value);
    if core.is_empty() {
        return word.into();
    }
    if is_age(core) {
        return put("<age>");
    }
    if is_time(core) {
        return put("<time>");
    }
    if core.starts_with("eyJ") {
        return put("<token>");
    }
    if core.starts_with("LS0tLS1") {
        return put("<pem>");
    }
    if core.starts_with("X509SHA256=") {
        return put("<credential>");
    }
    if core.starts_with("10.96.") && core != "10.96.0.1" && core.parse::<std::net::Ipv4Addr>().is_ok() {
        return put("<address>");
    }
    without_uids(&without_times(&without_drawn_letters(&without_node_port(word))))
}

/// `80:31234/TCP`, as lists of Services have it.
fn without_node_port(word: &str) -> String {
    let drawn = word.split_once(":3").and_then(|(port, rest)| Some((port, rest.split_once('/')?)));
    match drawn {
        Some((port, (node_port, protocol))) if node_port.len() == 4 && port.parse::<u16>().is_ok() => {
            format!("{port}:<node port>/{protocol}")
        }
        _ => word.into(),
    }
}

/// Seconds, or minutes and seconds: no cluster of a test lives longer.
fn is_age(word: &str) -> bool {
    let digits =
        |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(seconds) = word.strip_suffix('s') {
        return match seconds.split_once('m') {
            Some((minutes, seconds)) => digits(minutes) && digits(seconds),
            None => digits(seconds),
        };
    }
    word.strip_suffix('m').is_some_and(|minutes| minutes.len() == 1 && digits(minutes))
}

fn is_time(word: &str) -> bool {
    let shape: String =
        word.chars().take(11).map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    shape == "0000-00-00T" && (word.ends_with('Z') || word.contains('+'))
}

/// Times within a word, as in JSON.
fn without_times(word: &str) -> String {
    replaced(word, "0000-00-00A00:00:00A")
}

/// As `kubectl describe` and Helm have times.
fn human_time(line: &str) -> String {
    TIMES.iter().fold(line.into(), |line: String, shape| replaced(&line, shape))
}

/// A text with `<time>` for each part that has a shape.
fn replaced(text: &str, wanted: &str) -> String {
    let shape = |letter: char| match letter {
        '0'..='9' => '0',
        'a'..='z' => 'a',
        'A'..='Z' => 'A',
        other => other,
    };
    let fits = |at: usize| {
        let part = text.get(at..at + wanted.len());
        part.is_some_and(|part| part.chars().map(shape).eq(wanted.chars()))
    };
    match text.char_indices().find(|(at, _)| fits(*at)) {
        Some((at, _)) => format!("{}<time>{}", &text[..at], replaced(&text[at + wanted.len()..], wanted)),
        None => text.into(),
    }
}

fn without_uids(word: &str) -> String {
    const LENGTH: usize = 36;
    let is_uid = |text: &str| {
        text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    let found = word.char_indices().find(|(at, _)| word.get(*at..at + LENGTH).is_some_and(is_uid));
    match found {
        Some((at, _)) => format!("{}<uid>{}", &word[..at], without_uids(&word[at + LENGTH..])),
        None => word.into(),
    }
}

fn without_drawn_letters(word: &str) -> String {
    for prefix in DRAWN_NAMES {
        if let Some(at) = word.find(prefix) {
            let end = at + prefix.len();
            let drawn = word[end..].bytes().take_while(u8::is_ascii_alphanumeric).count();
            if drawn == DRAWN_LETTERS {
                return format!("{}<drawn>{}", &word[..end], &word[end + drawn..]);
            }
        }
    }
    word.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_another_each_time_is_evened_out() {
        let cases = [
            ("web-1      1/1     Running   0          2m5s", "web-1   1/1   Running   0   <age>"),
            ("kubernetes ClusterIP 10.96.0.1  10.96.17.3", "kubernetes ClusterIP 10.96.0.1   <address>"),
            ("  cpu:  10m", "  cpu:   10m"),
            ("  resourceVersion: \"17\"", "  resourceVersion: <revision>"),
            ("  uid: c234bf20-43b8-41c1-b568-934d95a20d2d", "  uid: <uid>"),
            ("Created:  Sun, 22 Nov 2026 10:53:03 +0000", "Created:   <time>"),
            ("  at: \"2026-11-22T10:53:03Z\"", "  at: \"<time>\""),
            ("running at https://127.0.0.1:6443", "running at https://<server>"),
            ("Created on:  2026-11-23 05:14:22 +0000 UTC", "Created on:   <time>"),
            ("LAST DEPLOYED: Mon Dec  7 05:14:22 2026", "LAST DEPLOYED: <time>"),
            ("{\"restartedAt\":\"2026-11-23T05:15:08Z\"}", "{\"restartedAt\":\"<time>\"}"),
            ("80:31234/TCP 80/TCP", "80:<node port>/TCP 80/TCP"),
            ("pod/generated-x7k2p created", "pod/generated-<drawn> created"),
            ("timeout 30s", "timeout <age>"),
        ];
        for (line, wanted) in cases {
            assert_eq!(even(line, "127.0.0.1:6443"), wanted);
        }
    }
}
