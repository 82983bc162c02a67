"""The generated `model.js` and `model.d.ts`."""
from __future__ import annotations
from collections.abc import Mapping
from typing import Any
import json


def model_js(document: Mapping[str, Any]) -> str:
    """model.js"""
    return f"""import {{ load as loadDescriptor }} from './{document["runner"]}/index.js';
export const load = (options) => loadDescriptor(new URL('./model.json', import.meta.url), options);
"""


def model_d_ts(document: Mapping[str, Any]) -> str:
    """model.d.ts"""
    return "export {};\n"
