"""What users pick instead. Each makes images of a `Model` from the same prompts and says how many a second it made,
with its model loaded and warm before the clock starts."""

_TEMPLATE = "the digit {class}"
PROMPTS = {"templates": [_TEMPLATE]}
"""What `prompts` gives, in our spec."""
QUALITY = 95


def prompts(count: int) -> list[str]:
    """So many, one after another."""
    return [_TEMPLATE.replace("{class}", str(number % 10)) for number in range(count)]
