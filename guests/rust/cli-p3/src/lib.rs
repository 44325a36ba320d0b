//! A `wasi:cli` command for WASI 0.3: prints arguments, environment, clocks and random bytes, then exits with the code in
//! the first argument (0 when absent). `cli-p3 cat` copies stdin to stdout, `cli-p3 sleep MS` sleeps, `cli-p3 fail`
//! returns an error from `run`.

use wasip3::cli::{environment, exit, stdin, stdout};
use wasip3::clocks::{monotonic_clock, system_clock};
use wasip3::exports::cli::run::Guest;
use wasip3::random::random;
use wasip3::wit_stream;

struct Command;

impl Guest for Command {
    async fn run() -> Result<(), ()> {
        let args: Vec<String> = environment::get_arguments().into_iter().skip(1).collect();
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["fail"] => Err(()),
            ["cat"] => {
                let (input, _outcome) = stdin::read_via_stream();
                stdout::write_via_stream(input).await.map_err(|_| ())
            }
            ["sleep", milliseconds] => {
                let milliseconds: u64 = milliseconds.parse().map_err(|_| ())?;
                monotonic_clock::wait_for(milliseconds * 1_000_000).await;
                Ok(())
            }
            _ => {
                print(show(&args)).await?;
                match args.first().and_then(|code| code.parse().ok()).unwrap_or(0) {
                    0 => Ok(()),
                    code => {
                        exit::exit_with_code(code);
                        Ok(())
                    }
                }
            }
        }
    }
}

fn show(args: &[String]) -> String {
    let mut text = format!("args: {args:?}\n");
    for (name, value) in environment::get_environment() {
        text.push_str(&format!("env: {name}={value}\n"));
    }
    text.push_str(&format!("clock: {} s\n", system_clock::now().seconds));
    let start = monotonic_clock::now();
    text.push_str(&format!("monotonic: {}\n", monotonic_clock::now() >= start));
    text.push_str(&format!("random: {:016x}\n", random::get_random_u64()));
    text
}

async fn print(text: String) -> Result<(), ()> {
    let (mut writer, reader) = wit_stream::new();
    let write = async move {
        let rest = writer.write_all(text.into_bytes()).await;
        if rest.is_empty() { Ok(()) } else { Err(()) }
    };
    let (written, taken) = futures::join!(write, async { stdout::write_via_stream(reader).await });
    written.and(taken.map_err(|_| ()))
}

wasip3::cli::command::export!(Command);
