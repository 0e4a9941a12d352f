"""Validate the JSON of control requests; errors name the field."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Text = Annotated[str, Field(min_length=1)]


class FieldError(Exception):
    """A field is missing, unknown or of the wrong type; the message names it."""


class Fields(BaseModel):
    """The fields of a JSON object, with strict types and no additional fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_Model = TypeVar("_Model", bound=Fields)


def read_fields(model: type[_Model], payload: object) -> _Model:
    """Return the validated fields of `payload`. Raises FieldError with each invalid field."""
    try:
        return model.model_validate(payload)
    except ValidationError as error:
        errors = error.errors(include_input=False, include_url=False)
        texts = (f"{_name(item['loc'])}: {item['msg']}" for item in errors)
        raise FieldError("; ".join(texts)) from None


def _name(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "send a JSON object"
