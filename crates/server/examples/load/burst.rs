//! So many operations from all connections, one after the other on each.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use serde_json::json;

use crate::client::{Call, Connection, Server, config_map, config_maps};
use crate::{Result, row, times};

/// How often each object is read.
const GETS: usize = 4;

/// Measures one kind of operation: `count` of it, for reads [`GETS`] of each object.
pub(crate) async fn run(server: &Server, what: &str, count: usize, connections: usize) -> Result<()> {
    server.connect().await?.make_namespace().await?;
    let open = server.connections(connections).await?;
    let (next, took) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Vec::with_capacity(count))));
    let (cpu, began) = (server.process.cpu_seconds(), Instant::now());
    let local = tokio::task::LocalSet::new();
    let workers: Vec<_> = open
        .into_iter()
        .map(|mut connection| {
            let (next, took, what) = (next.clone(), took.clone(), what.to_owned());
            local.spawn_local(async move {
                while next.get() < count {
                    let index = next.replace(next.get() + 1);
                    let call = operation(&what, index, count)?;
                    let begun = Instant::now();
                    connection.want(call).await?;
                    took.borrow_mut().push(begun.elapsed().as_secs_f64());
                }
                Ok::<Connection, String>(connection)
            })
        })
        .collect();
    local.await;
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), server.process.cpu_seconds() - cpu);
    for worker in workers {
        worker.await.map_err(|error| error.to_string())??;
    }
    let rate = count as f64 / seconds;
    row(
        &format!("{what} ConfigMap, {connections} connections"),
        &format!("{rate:.0}/s, {}, {:.3} ms CPU each", times(took.take()), cpu / count as f64 * 1e3),
    );
    Ok(())
}

fn operation(what: &str, index: usize, count: usize) -> Result<Call> {
    let name = format!("c{index}");
    Ok(match what {
        "create" => Call::post(config_maps(""), &config_map(&name, "x")),
        "get" => Call::get(config_maps(&format!("c{}", index % (count / GETS).max(1)))),
        "update" => Call::put(config_maps(&name), &config_map(&name, "y")),
        "patch" => Call::merge(config_maps(&name), &json!({"data": {"value": format!("patched-{index}")}})),
        "delete" => Call::delete(config_maps(&name)),
        _ => return Err(format!("`{what}` is no operation")),
    })
}
