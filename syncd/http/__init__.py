"""How a port of ours answers HTTP, whoever asks and whatever it offers: the daemon's and the monitor's are built on it.

    connection ─▶ host ─▶ route ─▶ token ─▶ body ─▶ answer
    connections   access  router   access   body    the port's own

It serves HTTP on a small routing table over aiohttp's low-level server, because every answer must pass one place:
with a framework's router a malformed head, an unknown path or a refused Expect is answered before any code of ours
runs, in another format.

Invariants:
    1. Every error is a problem document (RFC 9457), whoever caused it.
    2. No request waits longer than its deadline, for a peer or for the database.
    3. At most `Limits.connections` are open; one that waits for its peer makes room for a new one.
"""
