"""Remote text, made safe to show."""


def escape(text: str, *, keep: str = "") -> str:
    """Control, bidirectional and invisible characters become visible, as in `\\x1b`; those in `keep` stay."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode("ascii") for char in text
    )
