"""Checks JSON against the part of JSON Schema that docs/result.schema.json uses."""

import json
import pathlib
from typing import Any

RESULT_SCHEMA = json.loads((pathlib.Path(__file__).parents[1] / "docs" / "result.schema.json").read_text())
_TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int}
_KNOWN = {
    *("$schema", "title", "description", "type", "const", "properties", "required", "additionalProperties"),
    *("items", "minItems", "maxItems", "minimum", "maximum"),
}


def find_violations(value: Any, schema: dict = RESULT_SCHEMA, place: str = "result") -> list[str]:
    """Where a value is not as the schema wants it; empty where it is."""
    assert set(schema) <= _KNOWN, set(schema) - _KNOWN
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(_has_type(value, name) for name in types):
        return [f"{place} is {value!r}, expected {types}"]
    found = []
    if "const" in schema and value != schema["const"]:
        found.append(f"{place} is {value!r}, expected {schema['const']!r}")
    if isinstance(value, dict):
        properties = schema["properties"]
        found += [f"{place}.{name} is missing" for name in schema["required"] if name not in value]
        found += [f"{place}.{name} is not documented" for name in value if name not in properties]
        for name in value.keys() & properties.keys():
            found += find_violations(value[name], properties[name], f"{place}.{name}")
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            found.append(f"{place} has {len(value)} items")
        for number, item in enumerate(value):
            found += find_violations(item, schema["items"], f"{place}[{number}]")
    if isinstance(value, int | float) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        found.append(f"{place} is {value}")
    return found


def _has_type(value: Any, name: str) -> bool:
    if name in ("number", "integer") and isinstance(value, bool):
        return False
    return isinstance(value, int | float if name == "number" else _TYPES[name])
