"""`python -m protogen.models` writes index.json: each model's module and cost."""

from __future__ import annotations

import json

from .registry import INDEX, index_of_models

lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in index_of_models().items()]
INDEX.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
