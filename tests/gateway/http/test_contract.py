"""The OpenAPI document: examples that fit, and requests made from it that never break the gateway."""

import asyncio
import contextlib
import os

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from gateway.http import examples
from tests.gateway.conftest import redis_url

EXAMPLES = int(os.environ.get("FERRY_FUZZ_EXAMPLES", "8"))
"""Requests for each operation; `make fuzz` sends many more."""
NOT_SERVED = 501


@pytest.fixture
async def document(http):
    return (await http.client.get("/openapi.json")).json()


async def test_every_operation_is_described_with_its_problems(document):
    operations = [(path, operation) for path, methods in document["paths"].items() for operation in methods.values()]
    assert {path for path, _ in operations} >= {
        "/api/predict",
        "/api/predict-batch",
        "/api/predict-async",
        "/api/jobs/{job_id}",
        "/api/feedback",
        "/api/status",
        "/healthz",
        "/readyz",
    }
    for path, operation in operations:
        assert operation["summary"]
        assert "422" not in operation["responses"]
        if path.startswith("/api/"):
            assert {"400", "401", "429", "503"} <= operation["responses"].keys()


async def test_examples_fit_their_schemas(document):
    checked = 0
    for methods in document["paths"].values():
        for operation in methods.values():
            for part in (operation.get("requestBody", {}), *operation["responses"].values()):
                for content in part.get("content", {}).values():
                    if "example" in content:
                        schema = {**content["schema"], "components": document["components"]}
                        jsonschema.validate(content["example"], schema, cls=jsonschema.Draft202012Validator)
                        checked += 1
    assert checked > 20


async def test_the_image_of_the_example_is_one(http):
    answer = await http.client.post("/api/predict", json=examples.JSON_IMAGE)
    assert answer.status_code == 200


async def test_answers_fit_the_schema_and_say_what_fields_are(http, document):
    answer = (await http.client.post("/api/predict", json=examples.JSON_IMAGE)).json()
    schemas = document["components"]["schemas"]
    jsonschema.validate(answer, {**schemas["Recognition"], "components": document["components"]})
    assert schemas["Face"]["properties"]["score"]["description"]


# The gateway draws its waits by chance beside the requests that are being made up.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.slow
@pytest.mark.parametrize("serves", ["all", "no jobs and no feedback"])
async def test_no_request_made_from_the_document_breaks_the_gateway(start_http, document, valkey, tmp_path, serves):
    """Real requests over a socket, valid ones and others, of every operation."""
    more, meant = {}, {NOT_SERVED}
    if serves == "all":
        key = tmp_path / "key"
        key.write_text("ab" * 32)
        url = redis_url(valkey)
        more = {"redis_url": url, "record_exposures": True, "jobs_redis_url": url, "jobs_key": key}
        meant = set()
    http = await start_http(**more)
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=f"http://127.0.0.1:{http.port}")

    for result in schema.get_all_operations():
        await asyncio.to_thread(_fuzz, result.ok(), meant)
    assert (await http.client.get("/readyz")).status_code == 200


def _fuzz(operation, served):
    for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def one(case):
            response = case.call(timeout=20)
            # Whoever allows no time gets no answer.
            meant = served | {504} if "timeout" in (case.query or {}) else served
            assert response.status_code < 500 or response.status_code in meant, (case, response.text)
            case.validate_response(response, checks=[status_code_conformance, content_type_conformance])

        # An operation that takes nothing cannot be asked wrongly.
        with contextlib.suppress(Unsatisfiable):
            one()
