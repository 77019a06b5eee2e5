"""The text of an error in a log line."""

from engine.cluster.ray_errors import brief
from tests.engine.cluster.fake_pool import raised


def test_an_error_in_one_line() -> None:
    assert brief(raised(ValueError("first\nsecond"))) == "ValueError: first"
    assert brief(ValueError("")) == "ValueError: ValueError('')"
