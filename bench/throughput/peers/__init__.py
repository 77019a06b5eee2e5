"""The tools that users would choose instead. Each makes images of a `Model` from the same prompts and returns
images per second, with its model loaded and warm before the clock starts."""

_TEMPLATE = "the digit {class}"
PROMPTS = {"templates": [_TEMPLATE]}
"""The templates of our spec that give the same texts as `prompts`."""
QUALITY = 95


def prompts(count: int) -> list[str]:
    """So many, one after another."""
    return [_TEMPLATE.replace("{class}", str(number % 10)) for number in range(count)]
