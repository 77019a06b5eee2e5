"""What the rest of this checkout has in common."""


class Attributes(dict):
    """A dict whose keys are attributes as well."""

    def __getattr__(self, name: str) -> object:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None
