"""Where records come from. `source.Source` is the port; each source is a file beside it."""
