"""The peers: tools that users pick instead of Shardmill.

Each one generates images with a `Model` from the same prompts and returns its images per second. Its model is loaded
and warm before the clock starts.
"""

_TEMPLATE = "the digit {class}"
PROMPTS = {"templates": [_TEMPLATE]}
"""The section of our spec that gives the same texts as `prompts`."""
QUALITY = 95


def prompts(count: int) -> list[str]:
    """Return `count` prompts, one class after another."""
    return [_TEMPLATE.replace("{class}", str(number % 10)) for number in range(count)]
