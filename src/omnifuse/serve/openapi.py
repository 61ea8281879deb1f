"""The description of the server for programs, made from the model's own schema."""

from __future__ import annotations

from typing import Any

from omnifuse import __version__
from omnifuse.explain.explanation import OCCLUSION, SHAPLEY, WHAT_IT_IS
from omnifuse.schema import Modality
from omnifuse.serve.limits import ServeLimits
from omnifuse.serve.versions import Version

_TEXT: dict[str, Any] = {"type": "string"}
_BASE64 = {"type": "object", "properties": {"base64": {"type": "string", "format": "byte"}}, "required": ["base64"]}
_MEDIUM: dict[str, Any] = {"oneOf": [_BASE64, {"type": "string", "format": "byte"}]}
_MEDIA: dict[str, Any] = {"oneOf": [*_MEDIUM["oneOf"], {"type": "array", "items": _MEDIUM}]}
_NUMBER: dict[str, Any] = {"oneOf": [{"type": "number"}, _TEXT]}
_FIELDS: dict[Modality, dict[str, Any]] = {
    Modality.TEXT: _TEXT,
    Modality.IMAGE: _MEDIA,
    Modality.AUDIO: _MEDIA,
    Modality.VIDEO: _MEDIUM,
    Modality.SERIES: {"oneOf": [{"type": "array"}, {"type": "object"}, _TEXT]},
    Modality.NUMBER: _NUMBER,
    Modality.CATEGORY: {"oneOf": [_TEXT, {"type": "number"}, {"type": "boolean"}]},
    Modality.DATE: {"oneOf": [_TEXT, {"type": "number"}]},
    Modality.PLACE: {"oneOf": [_TEXT, {"type": "array", "items": {"type": "number"}}, {"type": "object"}]},
    Modality.TAGS: {"oneOf": [_TEXT, {"type": "array", "items": _TEXT}]},
}
_ERRORS = {
    "400": "The request is damaged",
    "401": "The token is absent or wrong",
    "403": "A wrong Host, or a page of another site",
    "408": "The body came too slowly",
    "413": "Too large",
    "415": "Another content type",
    "422": "A field is unknown, or the shape is wrong",
    "503": "Overloaded; Retry-After says when to come again",
}


def _row(version: Version) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, modality in version.columns.fields.items():
        found = _NUMBER if name in version.columns.parts else _FIELDS[modality]
        fields[name] = {**found, "description": modality.value}
    fields |= {name: {"description": "who, which group, or when"} for name in version.columns.roles}
    return {
        "type": "object",
        "description": "Fields may be absent; null and '' are missing. Media are base64, never paths or addresses.",
        "properties": fields,
        "additionalProperties": False,
    }


def _prediction(version: Version) -> dict[str, Any]:
    value: dict[str, Any] = {"type": ["string", "number", "array", "null"], "items": _TEXT}
    target = {
        "type": "object",
        "properties": {
            "value": value,
            "confidence": {"type": ["number", "null"]},
            "abstained": {"type": "boolean"},
            "low": {"type": "number"},
            "high": {"type": "number"},
            "probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
        },
    }
    names = [item.name for item in version.answerer.schema.targets]
    return {
        "type": "object",
        "properties": {
            "row_id": {"type": ["string", "integer"]},
            "targets": {"type": "object", "properties": dict.fromkeys(names, target)},
            "modalities_used": {"type": "array", "items": _TEXT},
            "warnings": {"type": "array", "items": _TEXT},
            "model_id": _TEXT,
            "version": {**_TEXT, "description": "Its name in the registry that is followed"},
            "error": _TEXT,
        },
        "required": ["row_id", "targets", "model_id"],
    }


def _explanation(version: Version) -> dict[str, Any]:
    number = {"type": "number"}
    share = {
        "type": "object",
        "description": "effect: how far the field moved the answer, in its unit; error: standard error where sampled",
        "properties": {"field": _TEXT, "effect": number, "share": number, "error": number},
    }
    part = {"type": "object", "properties": {"what": _TEXT, "where": {"type": "object"}, "effect": number}}
    inside = {
        "type": "object",
        "properties": {
            "modality": _TEXT,
            "method": {"enum": [OCCLUSION, SHAPLEY]},
            "parts": {"type": "array", "items": part},
            "text": _TEXT,
            "grid": {"type": "array", "description": "Of each picture, rows of effects", "items": {"type": "array"}},
        },
    }
    answer = {
        "type": "object",
        "properties": {
            "target": {"enum": [item.name for item in version.answerer.schema.targets]},
            "answer": {"type": ["string", "number"]},
            "confidence": {"type": ["number", "null"]},
            "unit": _TEXT,
            "prior": {**number, "description": "The answer where nothing is read; prior and effects add up to value"},
            "value": number,
            "shares": {"type": "array", "items": share},
            "parts": {"type": "object", "additionalProperties": inside},
        },
    }
    return {
        "type": "object",
        "description": WHAT_IT_IS,
        "properties": {
            "row_id": {"type": ["string", "integer"]},
            "answers": {"type": "array", "items": answer},
            "warnings": {"type": "array", "items": _TEXT},
            "model_id": _TEXT,
            "what": _TEXT,
            "error": _TEXT,
        },
        "required": ["row_id", "model_id"],
    }


def example_question(version: Version) -> dict[str, Any]:
    """A body that can be sent as it stands."""
    return {"rows": [version.answerer.example()]}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _question(
    version: Version, limits: ServeLimits, answer: dict[str, Any], summary: str, *, explained: bool = False
) -> dict[str, Any]:
    most = limits.max_explained_rows if explained else limits.max_rows
    rows = {"type": "array", "items": _reference("Row"), "minItems": 1, "maxItems": most}
    choice = (
        {"parts": {"type": "boolean", "default": True, "description": "Look inside of the fields too"}}
        if explained
        else {"proba": {"type": "boolean", "default": False}}
    )
    body: dict[str, Any] = {
        "type": "object",
        "properties": {
            "rows": rows,
            "history": {"type": ["array", "null"], "items": _reference("Row")},
            **choice,
        },
        "required": ["rows"],
        "additionalProperties": False,
    }
    form = {"type": "object", "description": "One part a field; N.field for row N, from 0 on; files for media."}
    errors = {status: {"description": words, "content": {"application/json": {"schema": _reference("Error")}}}
              for status, words in _ERRORS.items()}  # fmt: skip
    return {
        "post": {
            "summary": summary,
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": body, "example": example_question(version)},
                    "multipart/form-data": {"schema": form},
                },
            },
            "responses": {
                "200": {
                    "description": "One answer a row, in order",
                    "content": {"application/json": {"schema": answer}},
                },
                **errors,
            },
        }
    }


def _plain(summary: str, kind: str = "application/json") -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": {"200": {"description": summary, "content": {kind: {}}}}}}


def openapi(version: Version, limits: ServeLimits, *, with_token: bool) -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    listed = {"type": "object", "properties": {"predictions": {"type": "array", "items": _reference("Prediction")}}}
    vectors = {"type": "object", "properties": {"embeddings": {"type": "array", "items": {"type": "object"}}}}
    told = {"type": "object", "properties": {"explanations": {"type": "array", "items": _reference("Explanation")}}}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "omnifuse",
            "version": __version__,
            "description": f"Model {version.model_id}. `/stream` is a WebSocket for windows of live values.",
        },
        "paths": {
            "/predict": _question(version, limits, listed, "Answer rows"),
            "/embed": _question(version, limits, vectors, "Vectors of rows in the unified space"),
            "/explain": _question(version, limits, told, "What carried the answers to rows", explained=True),
            "/schema": _plain("What the model reads and answers, with an example"),
            "/health/live": _plain("Whether the process works; needs no token"),
            "/health/ready": _plain("Whether rows are answered"),
            "/metrics": _plain("Measurements for Prometheus", "text/plain"),
        },
        "components": {
            "schemas": {
                "Row": _row(version),
                "Prediction": _prediction(version),
                "Explanation": _explanation(version),
                "Error": {"type": "object", "properties": {"error": _TEXT}, "required": ["error"]},
            }
        },
    }
    if with_token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        document["paths"]["/health/live"]["get"]["security"] = []
    return document
