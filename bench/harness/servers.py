"""The servers: Shoal and its peers, all with one answer."""

from pathlib import Path

from .context import BENCH, CACHE, Context
from .process import Server

PEERS = BENCH / "peers"

# What people set who tune `wasmtime serve` for throughput; the sizes are those that helped most here.
WASMTIME_TUNED = [
    "-Opooling-allocator=y",
    "-Opooling-memory-keep-resident=4194304",
    "-Opooling-table-keep-resident=65536",
    "-Opooling-pagemap-scan=y",
]


def shoal(context: Context, artifact: Path, *options: str, name: str = "shoal", path: str = "/") -> Server:
    """`shoal run` with a fresh instance for each request, on one thread."""
    command = [context.shoal, "run", str(artifact), "--listen", "127.0.0.1:{port}", "--threads", "1"]
    data = ["--data-dir", context.data_dir]
    return Server(name, [*command, *data, *options], {"SHOAL_LOG": "error"}, path)


def wasmtime_serve(
    context: Context, artifact: Path, *options: str, name: str = "wasmtime serve", path: str = "/"
) -> Server:
    """`wasmtime serve`; what it compiled is kept in its own cache."""
    command = [context.peer("wasmtime"), "serve", "-Scli=y", *options]
    return Server(name, [*command, "--addr", "127.0.0.1:{port}", str(artifact)], path=path)


def native(context: Context) -> Server:
    """hyper alone, on one thread."""
    return Server("native hyper", [context.example("native"), "native", "127.0.0.1:{port}", "1"])


def edge(context: Context) -> Server:
    """Shoal's edge with a runtime that does nothing: what is left is the guest."""
    return Server("shoal's edge, no guest", [context.example("native"), "edge", "127.0.0.1:{port}", "1"])


def edge_of_cluster(context: Context) -> Server:
    """The same with the routes of 1,000 hosts."""
    command = [context.example("native"), "cluster", "127.0.0.1:{port}", "1"]
    return Server("the same, 1,000 hosts", command, path="/api/items?page=2", host="app-617.test")


def workerd(context: Context) -> Server:
    """A JavaScript hello whose isolate lives on between requests."""
    config = str(PEERS / "workerd.capnp")
    return Server("workerd (isolate reused)", [context.peer("workerd"), "serve", config, "-shttp=127.0.0.1:{port}"])


def node() -> Server:
    return Server("node", ["node", str(PEERS / "hello.mjs"), "{port}"])


def nginx(context: Context) -> Server:
    """`return 200` from one process."""
    # The configuration has no variables for a port or a directory: a shell fills them in.
    fill = f"sed -e 's|PORT|{{port}}|' -e 's|DIR|{CACHE}|' {PEERS / 'nginx.conf'} > {CACHE / 'nginx.conf'}"
    command = f"{fill} && exec {context.peer('nginx')} -e stderr -p {CACHE} -c {CACHE / 'nginx.conf'}"
    return Server("nginx", ["sh", "-c", command])
