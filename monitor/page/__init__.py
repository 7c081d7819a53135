"""The status page: a verdict in one sentence, then why. HTML that works without JavaScript, and plain text."""
