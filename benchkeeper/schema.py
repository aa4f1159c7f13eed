"""From a pydantic model and a YAML document to mistakes with lines. All mistakes at once, each told once."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchkeeper.located import Document, Mistake, Place

_SHOWN = 60  # characters of a value in a message
Text = Annotated[str, Field(min_length=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
"""A duration. Strict, as everything here: ``"60"`` is a text."""


class Strict(BaseModel):
    """A mapping whose keys are all known, with values of exactly the stated types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


@functools.cache
def adapter(model: Any) -> TypeAdapter[Any]:
    """Return the validator of a type, built once."""
    return TypeAdapter(model)


def spell(place: Place) -> str:
    """Return a place as a person writes it: ``signals.pool.all[0].op``."""
    text = ""
    for step in place:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _told(error: Any, place: Place) -> str:
    """Return what one error says, in our words where we have some."""
    kind, where = error["type"], spell(place)
    if kind == "extra_forbidden":
        return f"unknown key {where}"
    if kind == "missing":
        return f"lacks {spell((*place, error['loc'][-1]))}"
    if kind == "value_error":
        return f"{where}: {error['ctx']['error']}".lstrip(": ")
    said = error["msg"][0].lower() + error["msg"][1:]
    return f"{where}: {said}, not {_shown(error['input'])}".lstrip(": ")


def errors(
    model: Any, document: Document, place: Place = (), value: Any = None, skip: tuple[str, ...] = ()
) -> list[tuple[Place, str]]:
    """Return (place, text) for everything in a value that the model does not take.

    Args:
        model: A type that pydantic validates.
        document: The document, for what its places are.
        place: Where the value stands.
        value: The value; the whole document when `place` is empty.
        skip: Types of errors that somebody else reports.
    """
    try:
        adapter(model).validate_python(value if place else document.data)
    except ValidationError as error:
        found: dict[Place, list[str]] = {}
        for one in error.errors(include_url=False):
            if one["type"] in skip:
                continue
            # Names of union members stand between the steps; they lead nowhere in the document.
            at = document.known((*place, *one["loc"]))
            texts = found.setdefault((*at, one["loc"][-1]) if one["type"] == "missing" else at, [])
            texts += [text for text in [_told(one, at)] if text not in texts]
        return [(at, "; or ".join(texts)) for at, texts in found.items()]
    return []


def mistakes(model: Any, document: Document, place: Place = (), value: Any = None, skip: tuple[str, ...] = ()) -> Iterator[Mistake]:
    """Yield the errors of a value as mistakes of its file."""
    for at, text in errors(model, document, place, value, skip):
        yield document.mistake(at, text)
