"""Check the errors that values and rules raise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from timbres.errors import TimbresError


def expect_error(
    code: str, field: str | None, function: Callable[..., Any], /, *args: Any, **options: Any
) -> TimbresError:
    """Call ``function``, check that it raises an error for ``field``, and return the error."""
    with pytest.raises(TimbresError) as caught:
        function(*args, **options)
    assert (caught.value.problem_type.code, caught.value.field) == (code, field)
    # The detail quotes the input: shortened, on one line.
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 250
    return caught.value
