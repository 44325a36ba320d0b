//! Lists of all ConfigMaps, in the forms that clients ask for.

use std::time::Instant;

use crate::client::{Call, Server, config_maps};
use crate::{Result, row, spread};

/// Repetitions of each list.
const ROUNDS: usize = 15;

/// Measures each form.
pub(crate) async fn run(server: &Server) -> Result<()> {
    let all = config_maps("");
    let forms = [
        ("list all", all.clone(), "application/json"),
        ("list all, of any version", format!("{all}?resourceVersion=0"), "application/json"),
        ("list, 500 a page: the first", format!("{all}?limit=500"), "application/json"),
        ("list as Table", all.clone(), "application/json;as=Table;v=v1;g=meta.k8s.io"),
        ("list of metadata", all.clone(), "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"),
        ("list as protobuf", all.clone(), "application/vnd.kubernetes.protobuf"),
        ("list by label", format!("{all}?labelSelector=app%3Dbench"), "application/json"),
    ];
    let mut connection = server.connect().await?;
    for (name, path, media_type) in forms {
        let (mut took, mut bytes, cpu) = (Vec::new(), 0, server.process.cpu_seconds());
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            bytes = connection.want(Call::get(&path).accepting(media_type)).await?.len();
            took.push(begun.elapsed().as_secs_f64());
        }
        let cpu = (server.process.cpu_seconds() - cpu) / ROUNDS as f64 * 1e3;
        row(&format!("{name} ({:.2} MB)", bytes as f64 / 1e6), &format!("{}, {cpu:.1} ms CPU", spread(took)));
    }
    Ok(())
}
