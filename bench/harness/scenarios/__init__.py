"""The scenarios by name."""

from . import density, hostile, looping, start, stream, throughput

# Each takes a Context and gives tables; the order is that of a whole run.
SCENARIOS = {
    "hello": throughput.hello,
    "small": throughput.small,
    "p3": throughput.p3,
    "javascript": throughput.javascript,
    "looping": looping.looping,
    "stream": stream.stream,
    "start": start.start,
    "density": density.density,
    "hostile": hostile.hostile,
}
