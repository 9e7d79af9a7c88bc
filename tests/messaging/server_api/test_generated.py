"""Requests generated from the OpenAPI document, valid and invalid ones, against a running stack."""

from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from apps.messaging.server_api import openapi, view  # noqa: F401  (it declares the endpoints)
from bench.tokens import App
from tests.messaging.server_api.live import app_of_its_own, headers

EXAMPLES = 4  # of an endpoint
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

# What is at the limits of each parameter is in test_transport.
config = schemathesis.Config.from_dict({"phases": {"coverage": {"enabled": False}}})
document = schemathesis.openapi.from_dict(openapi.document(), config=config)


@pytest.fixture(scope="module")
def app(stack: Any) -> App:
    return app_of_its_own(stack, "generated")


@pytest.fixture(scope="module")
def session() -> requests.Session:
    return requests.Session()


@document.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_generated_requests_are_answered_as_documented(
    case: schemathesis.Case, app: App, session: requests.Session
) -> None:
    case.call_and_validate(base_url=app.url, headers=headers(app), session=session, checks=CHECKS)
