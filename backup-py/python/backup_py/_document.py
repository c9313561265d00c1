"""Frozen results out of the JSON documents of the command, and how they look."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, Union, cast, get_args, get_origin, get_type_hints

__all__ = ["Result", "Results"]

T = TypeVar("T")


@dataclass(frozen=True, repr=False)
class Result:
    """Something that a call returned. Cannot be changed; equal to another of the same content."""

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The result that a document tells; what it does not know is left out."""
        keys = {name: name.rstrip("_") for name in readers(cls)}
        known = {name: read(document[keys[name]]) for name, read in readers(cls).items() if keys[name] in document}
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """Everything in it as plain values, nested results as dictionaries."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}

    def summary(self) -> str:
        """What it says, in a few words."""
        shown = ((field.name, getattr(self, field.name)) for field in fields(self))
        return ", ".join(f"{name}={value!r}" for name, value in shown if is_short(value))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.summary()}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{cell(value)}</td></tr>"
            for name, value in self.to_dict().items()
            if value not in (None, (), [], {})
        )
        return f"<table>{rows}</table>"


class Results(tuple[T, ...], Generic[T]):
    """Results in their order, as a tuple; ``to_dicts()`` is what makes a data frame of them."""

    __slots__ = ()

    def to_dicts(self) -> list[dict[str, Any]]:
        """A dictionary each, nested results flattened into ``outer_inner``: as pandas and polars want them.

        >>> from backup_py.results import Table
        >>> Results([Table("orders", rows=3)]).to_dicts()
        [{'name': 'orders', 'rows': 3, 'digest': None}]
        """
        return [flat(one.to_dict()) if isinstance(one, Result) else {"value": one} for one in self]

    def __repr__(self) -> str:
        return "[" + ",\n ".join(map(repr, self)) + "]"

    def _repr_html_(self) -> str:
        rows = [
            {name: value for name, value in row.items() if not isinstance(value, (list, dict))}
            for row in self.to_dicts()
        ]
        names = list(dict.fromkeys(name for row in rows for name, value in row.items() if value is not None))
        head = "".join(f"<th>{escape(name)}</th>" for name in names)
        body = "".join("<tr>" + "".join(f"<td>{cell(row.get(name))}</td>" for name in names) + "</tr>" for row in rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


_readers: dict[type[Result], dict[str, Callable[[Any], Any]]] = {}


def readers(cls: type[Result]) -> dict[str, Callable[[Any], Any]]:
    """How each field of a result is read."""
    if cls not in _readers:
        hints = get_type_hints(cls)
        _readers[cls] = {field.name: reader(hints[field.name]) for field in fields(cls)}
    return _readers[cls]


def reader(hint: Any) -> Callable[[Any], Any]:
    """How a value of a type is read from JSON."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        read = reader(next(one for one in inner if one is not type(None)))
        return lambda value: None if value is None else read(value)
    if origin is Results:
        read = reader(inner[0])
        return lambda values: Results(read(value) for value in values)
    if origin is tuple:
        read = reader(inner[0])
        return lambda values: tuple(read(value) for value in values)
    if is_dataclass(hint) and isinstance(hint, type) and issubclass(hint, Result):
        return hint.of
    if hint is datetime:
        return datetime.fromisoformat
    if hint is Path:
        return Path
    return lambda value: value


def plain(value: Any) -> Any:
    """A value without classes of ours."""
    if isinstance(value, Result):
        return value.to_dict()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return list(map(plain, value))  # pyright: ignore[reportUnknownArgumentType]
    return value


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries of results as one."""
    row: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and name in ("source", "payload"):
            row |= {f"{name}_{inner}": one for inner, one in cast(dict[str, Any], value).items()}
        else:
            row[name] = value
    return row


def is_short(value: Any) -> bool:
    """Whether a value says something in a few words."""
    return value not in (None, (), {}, []) and isinstance(value, (str, int, float, Path, datetime))


def cell(value: Any) -> str:
    """A value in a table."""
    if isinstance(value, datetime):
        return escape(value.isoformat(sep=" ", timespec="seconds"))
    return escape(str(value if value is not None else ""))
