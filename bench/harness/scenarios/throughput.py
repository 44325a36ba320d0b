"""Requests per second and CPU time per request: interleaved rounds over all servers of a scenario."""

from .. import load, process, servers
from ..context import GUESTS, LOGS, SERVER_CPU, Context, say
from ..process import Failed, Running, Server
from ..table import Column, Table

# Above this share of the server's core for others, a sample says little about the server.
DISTURBED_MAX = 0.10

# By itself `wasmtime serve` lets one 0.3 instance answer 128 requests, 16 of them at once.
P3_OPTIONS = ["-Sp3", "-Wcomponent-model-async=y"]
P3_FRESH = ["--max-instance-reuse-count", "1", "--max-instance-concurrent-reuse-count", "1"]


def hello(context: Context) -> list[Table]:
    """One line over HTTP from an ordinary Rust guest, beside the hosts that people use."""
    guest = GUESTS / "hello.wasm"
    contestants = [
        servers.native(context),
        servers.shoal(context, guest),
        servers.wasmtime_serve(context, guest),
        servers.wasmtime_serve(context, guest, *servers.WASMTIME_TUNED, name="wasmtime serve, tuned"),
        servers.workerd(context),
        servers.node(),
        servers.nginx(context),
    ]
    return rounds(context, "hello", contestants, [16, 64])


def small(context: Context) -> list[Table]:
    """The same answer from a guest of one page that never grows."""
    guest = GUESTS / "hello-small.wasm"
    contestants = [
        servers.native(context),
        servers.edge(context),
        servers.shoal(context, guest),
        servers.wasmtime_serve(context, guest),
    ]
    return rounds(context, "hello, small memory", contestants, [16, 64])


def p3(context: Context) -> list[Table]:
    """The same answer from a WASI 0.3 guest."""
    guest = GUESTS / "hello-p3.wasm"
    contestants = [
        servers.native(context),
        servers.shoal(context, guest),
        servers.wasmtime_serve(context, guest, *P3_OPTIONS, *P3_FRESH),
        servers.wasmtime_serve(context, guest, *P3_OPTIONS, name="wasmtime serve (reused)"),
    ]
    return rounds(context, "hello, WASI 0.3", contestants, [16, 64])


def javascript(context: Context) -> list[Table]:
    """A JavaScript component with its whole engine inside, a fresh instance for each request."""
    guest = context.javascript
    if guest is None or not guest.is_file():
        raise Failed("there is no JavaScript component; build one (`cargo xtask guests hello-js`) and name it with --javascript")
    contestants = [
        servers.shoal(context, guest),
        servers.wasmtime_serve(context, guest, "-Ccache=y"),
        servers.workerd(context),
    ]
    return rounds(context, "JavaScript component", contestants, [4, 16])


def rounds(context: Context, title: str, contestants: list[Server], connections: list[int]) -> list[Table]:
    """Measures every server at every number of connections, in the order ABC, CBA, ABC and so on.

    Shares are of the first server, taken within each round: whatever slows the machine slows both.
    """
    tables = {count: table(title, count, contestants) for count in connections}
    running: list[Running] = []
    try:
        for server in contestants:
            started = start(context, server, list(tables.values()))
            if started:
                running.append(started)
        for number, order in enumerate(context.rounds(context.effort.rounds, running)):
            for count, of_count in tables.items():
                one_round(context, of_count, order, count, number)
    finally:
        for server in running:
            server.stop()
    return list(tables.values())


def start(context: Context, server: Server, tables: list[Table]) -> Running | None:
    """Starts a server; one that does not start is a row with the reason."""
    try:
        return process.start(server, SERVER_CPU, LOGS)
    except Failed as failure:
        say(f"  {failure}")
        for of_count in tables:
            of_count.row(server.name).note = "did not start"
        return None


def one_round(context: Context, of_count: Table, order: list[Running], connections: int, number: int) -> None:
    effort = context.effort
    figures = {}
    warm_seconds = effort.warm_seconds if number == 0 or effort.warm_always else 0
    for server in order:
        row = of_count.row(server.server.name)
        try:
            sample = load.measure(server, connections, effort.seconds, warm_seconds, context.cpus)
        except Failed as failure:
            say(f"  {failure}")
            row.note = "failed in a round"
            continue
        figures[server.server.name] = sample
        row.add(
            rps=sample.rps,
            cpu_us=sample.cpu_us,
            p50_us=sample.p50_us,
            p99_us=sample.p99_us,
            rss_mib=sample.rss_bytes / 2**20,
            errors=sample.errors,
            disturbed=sample.disturbed,
        )
        if sample.errors:
            row.note = "answered with errors"
        remark = f"   ! {sample.disturbed:.0%} of the core went to others" if sample.disturbed > DISTURBED_MAX else ""
        say(
            f"  {number + 1}/{effort.rounds} {connections:>3} conns  {server.server.name:<26}"
            f"{sample.rps:>10,.0f}/s {sample.cpu_us:>9.1f} us CPU {sample.p99_us:>9,.0f} us p99{remark}"
        )
    reference = figures.get(of_count.rows[0].label)
    if reference:
        for name, sample in figures.items():
            of_count.row(name).add(factor=sample.cpu_us / reference.cpu_us)


def table(title: str, connections: int, contestants: list[Server]) -> Table:
    first = contestants[0].name
    columns = [
        Column("rps", "requests/s"),
        Column("cpu_us", "CPU us/request", 1),
        Column("factor", f"CPU, {first} = 1", factor=True),
        Column("p50_us", "p50 us"),
        Column("p99_us", "p99 us"),
        Column("rss_mib", "RSS MiB"),
    ]
    made = Table(f"{title}, {connections} connections", columns, plot="cpu_us")
    for server in contestants:
        made.row(server.name)
    return made


