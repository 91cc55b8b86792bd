"""Where data sets may lie."""


def is_remote(location: str) -> bool:
    """Whether a data set lies at a URL, and not in a folder."""
    return location.startswith(("https://", "http://"))
