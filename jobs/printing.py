"""Printing of text from files that others wrote."""


def print_text(text: str) -> None:
    """Print text on standard output, without its control characters."""
    print(escape_control_characters(text))


def escape_control_characters(text: str) -> str:
    """Return the text with control characters as `\\x1b`, so that a name in a file cannot control the terminal."""
    return "".join(char if char == "\n" or char.isprintable() else ascii(char)[1:-1] for char in text)
