"""The whole cluster in one process answers as the cluster of many does."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from cli.cluster import Cluster, ClusterSettings
from ferry.v1 import gateway_pb2, gateway_pb2_grpc
from tests.e2e import test_golden, test_recognize
from tests.e2e.conftest import MODELS, SAMPLES, healthy, open_channel

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Takes the place of the cluster of many processes in the tests below."""
    settings = ClusterSettings(
        port=0, models_dir=MODELS, threads=1, runs=1, processes=1, log_dir=tmp_path_factory.mktemp("logs")
    )
    with healthy(settings) as running:
        yield running


@pytest.fixture(scope="module")
def channel(cluster: Cluster) -> Iterator[grpc.Channel]:
    with open_channel(cluster.address) as opened:
        yield opened


@pytest.fixture(scope="module")
def gateway(channel: grpc.Channel) -> gateway_pb2_grpc.ExpressionRecognitionStub:
    return gateway_pb2_grpc.ExpressionRecognitionStub(channel)


test_a_portrait_has_one_face_with_three_opinions = test_recognize.test_a_portrait_has_one_face_with_three_opinions
test_the_second_answer_comes_from_the_cache = test_recognize.test_the_second_answer_comes_from_the_cache_and_is_the_same
test_an_image_without_faces_is_an_answer = test_recognize.test_an_image_without_faces_is_an_answer_with_no_faces
test_in_a_batch_a_broken_image_fails_alone = test_recognize.test_in_a_batch_a_broken_image_fails_alone
test_status_names_every_model_and_its_version = test_recognize.test_status_names_every_model_and_its_version
test_the_client_library_gets_the_same = test_recognize.test_the_client_library_gets_the_same
test_every_metric_of_the_design_is_exported = test_recognize.test_every_metric_of_the_design_is_exported_by_someone
test_it_answers_as_when_the_models_were_published = (
    test_golden.test_the_cluster_answers_as_when_the_models_were_published
)


def test_it_is_one_process_beside_valkey(cluster: Cluster) -> None:
    assert [endpoint.name for endpoint in cluster.endpoints] == ["ferry", "valkey"]


def test_a_picture_that_cannot_be_read_is_refused_as_by_many_processes(
    gateway: gateway_pb2_grpc.ExpressionRecognitionStub,
) -> None:
    broken = SAMPLES["grace-hopper"].read_bytes()[:2000]
    with pytest.raises(grpc.RpcError) as refused:
        gateway.Recognize(gateway_pb2.RecognizeRequest(image=broken), timeout=30)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "image" in str(refused.value.details())
