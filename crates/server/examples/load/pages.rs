//! A long list, page by page: the last page should cost what the first does.

use std::time::Instant;

use serde::Deserialize;

use crate::client::{Call, Server, config_maps};
use crate::{Result, quantile, row};

/// Objects of a page, as kubectl asks for them.
const PAGE: usize = 500;
/// Walks through the whole list; of each page the fastest counts.
const ROUNDS: usize = 5;
/// Pages at each end that are compared.
const ENDS: usize = 10;

#[derive(Deserialize)]
struct List {
    metadata: Metadata,
    items: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default, rename = "continue")]
    token: String,
}

/// Measures the pages.
pub(crate) async fn run(server: &Server) -> Result<()> {
    let mut connection = server.connect().await?;
    let (mut best, mut objects) = (Vec::<f64>::new(), 0);
    let cpu = server.process.cpu_seconds();
    for round in 0..ROUNDS {
        let (mut token, mut page) = (String::new(), 0);
        objects = 0;
        loop {
            let path = format!("{}?limit={PAGE}&continue={token}", config_maps(""));
            let begun = Instant::now();
            let bytes = connection.want(Call::get(path)).await?;
            let took = begun.elapsed().as_secs_f64();
            if round == 0 {
                best.push(took);
            } else if let Some(best) = best.get_mut(page) {
                *best = best.min(took);
            }
            let list: List = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
            (token, page, objects) = (list.metadata.token, page + 1, objects + list.items.len());
            if token.is_empty() {
                break;
            }
        }
    }
    let cpu = (server.process.cpu_seconds() - cpu) / (ROUNDS * best.len()) as f64 * 1e3;
    let middle = |part: &[f64]| {
        let mut part = part.to_vec();
        part.sort_by(f64::total_cmp);
        quantile(&part, 0.5) * 1e3
    };
    let (first, last) =
        (middle(&best[..ENDS.min(best.len())]), middle(&best[best.len().saturating_sub(ENDS)..]));
    row(
        &format!("{} pages of {PAGE} of {objects} objects", best.len()),
        &format!("the first {first:.2} ms, the last {last:.2} ms, {cpu:.2} ms CPU each"),
    );
    Ok(())
}
