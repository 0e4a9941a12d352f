"""Typed reading of the JSON that steers a sandbox, with errors that name the field."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Text = Annotated[str, Field(min_length=1)]


class FieldError(Exception):
    """A field is missing, unknown or of the wrong type; the text says which."""


class Fields(BaseModel):
    """The fields of one JSON object: of their very types, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_Model = TypeVar("_Model", bound=Fields)


def read_fields(model: type[_Model], payload: object) -> _Model:
    """The fields in what the JSON said. Raises FieldError that names each wrong one."""
    try:
        return model.model_validate(payload)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)
        raise FieldError("; ".join(f"{_name(one['loc'])}: {one['msg']}" for one in wrong)) from None


def _name(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location)) or "send a JSON object"
