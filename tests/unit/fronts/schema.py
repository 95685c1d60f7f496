"""``schema.json``, as a question."""

from __future__ import annotations

import json
from pathlib import Path

from jsonschema import Draft202012Validator

import gateway.fronts

SCHEMA = json.loads(Path(gateway.fronts.__file__).with_name("schema.json").read_text("utf-8"))


def in_schema(kind: str, line: object) -> bool:
    """Whether a line is one of that kind: ``client``, ``server``, or a single one's name."""
    wanted = {**SCHEMA, "anyOf": [{"$ref": f"#/$defs/{kind}"}]}
    return Draft202012Validator(wanted).is_valid(line)
