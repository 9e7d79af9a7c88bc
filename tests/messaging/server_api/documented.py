"""What the reference promises of answers, held against those that tests get."""

import functools
from typing import Any

import jsonschema

from apps.messaging.server_api import openapi
from apps.messaging.server_api.view import ENDPOINTS


@functools.cache
def _of(path: str) -> jsonschema.Draft202012Validator:
    example = {"code": 200, **ENDPOINTS[path].answer}
    return jsonschema.Draft202012Validator(openapi.answer_schema(example, closed=True))


def check_answer(path: str, answer: dict[str, Any]) -> None:
    """That a success is as the example in the endpoint's declaration: each name, each type, nothing else."""
    wrong = [f"{error.json_path}: {error.message}" for error in _of(path).iter_errors(answer)]
    assert not wrong, f"{path}: answer={ENDPOINTS[path].answer} in its declaration, but {wrong}"


def check_refusal(path: str, code: int) -> None:
    assert code in openapi.codes(ENDPOINTS[path]), f"{path} may be refused with {code}: errors=({code},)"
