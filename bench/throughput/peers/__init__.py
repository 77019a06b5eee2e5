"""What users pick instead. Each makes images of a `Model` from the same prompts and says how many a second it made,
with its model loaded and warm before the clock starts."""

PROMPTS = [f"the digit {number % 10}" for number in range(50)]
QUALITY = 95


def prompts(count: int) -> list[str]:
    """So many, one after another."""
    return [PROMPTS[number % len(PROMPTS)] for number in range(count)]
