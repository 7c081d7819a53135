"""The daemon's HTTP API: what people and programs may see and steer over the control port.

    call ─▶ requests, steering, history, progress, feed, health

How a request gets here, and what it is refused for before, is `syncd.http`'s. What the API needs of the daemon is in
`service.Service`.

Invariant: progress and liveness are answered from memory, also while the database is away.
"""
