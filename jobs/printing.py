"""Printing what others wrote."""


def say(text: str) -> None:
    """Print on standard output, see `visible`."""
    print(visible(text))


def visible(text: str) -> str:
    """Text whose control characters are shown, as `\\x1b`, so that a stranger's name cannot steer a terminal."""
    return "".join(one if one == "\n" or one.isprintable() else ascii(one)[1:-1] for one in text)
