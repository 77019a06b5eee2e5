"""Durations and file sizes as text."""


def format_duration(seconds: float) -> str:
    """Return 2:03, from an hour on 1:02:03, and from a day on 3 d 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if not days and not hours:
        return f"{minutes}:{seconds:02d}"
    return (f"{days} d " if days else "") + f"{hours}:{minutes:02d}:{seconds:02d}"


def format_bytes(count: float) -> str:
    """Return 12.3 MB, 4.5 GB or 1.2 TB."""
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e6:.1f} MB"
