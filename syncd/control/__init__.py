"""The daemon's HTTP API: what people and programs may see and steer over the control port.

    connection ─▶ host ─▶ route ─▶ token ─▶ body ─▶ answer
    connections   access  routes   access   body    requests, steering, history, progress, health

It serves HTTP on its own small routing table over aiohttp's low-level server, because every answer must pass
one place: with a framework's router a malformed head, an unknown path or a refused Expect is answered before
any code of ours runs, in another format. What it needs of the daemon is in `service.Service`.

Invariants:
    1. Every error is a problem document (RFC 9457), whoever caused it.
    2. No request waits longer than its deadline, for a peer or for the database.
    3. Progress and liveness are answered from memory, also while the database is away.
    4. At most `Limits.connections` are open; one that waits for its peer makes room for a new one.
"""
