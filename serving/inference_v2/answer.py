"""From a model's reply, and its description, to messages of the protocol."""

from __future__ import annotations

from ferry.inference import open_inference_grpc_pb2 as pb
from serving.inference_v2 import parameters, typed
from serving.inference_v2.model import Description, Indexed, Query, Reply
from serving.inference_v2.tensor import BYTES, TensorSpec

PLATFORM = "ferry"


def response(reply: Reply, query: Query, identifier: str, *, as_typed: bool) -> pb.ModelInferResponse:
    """The answer.

    Args:
        reply: of the model.
        query: whose outputs are answered, in its order.
        identifier: the caller's, of the question.
        as_typed: whether values go into typed contents.
    """
    message = pb.ModelInferResponse(model_name=reply.name, model_version=reply.version, id=identifier)
    parameters.write(reply.parameters, message.parameters)
    outputs = {tensor.name: tensor for tensor in reply.outputs}
    for name in query.outputs:
        tensor = outputs[name]
        output = message.outputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape)
        if as_typed:
            typed.write(tensor, output.contents)
        else:
            message.raw_output_contents.append(tensor.raw)
    return message


def metadata(description: Description) -> pb.ModelMetadataResponse:
    """What a model takes and answers."""
    return pb.ModelMetadataResponse(
        name=description.name,
        versions=description.versions,
        platform=PLATFORM,
        inputs=map(_tensor, description.inputs),
        outputs=map(_tensor, description.outputs),
    )


def config(description: Description) -> pb.ModelConfigResponse:
    """The same as Triton's tools read it."""
    told = pb.ModelConfig(name=description.name, platform=PLATFORM)
    for spec in description.inputs:
        told.input.add(name=spec.name, data_type=_data_type(spec), dims=spec.shape)
    for spec in description.outputs:
        told.output.add(name=spec.name, data_type=_data_type(spec), dims=spec.shape)
    return pb.ModelConfigResponse(config=told)


def index(entry: Indexed) -> pb.RepositoryIndexResponse.ModelIndex:
    """A version in the repository."""
    return pb.RepositoryIndexResponse.ModelIndex(
        name=entry.name, version=entry.version, state="READY" if entry.ready else "UNAVAILABLE", reason=entry.reason
    )


def _data_type(spec: TensorSpec) -> pb.DataType.ValueType:
    return pb.DataType.Value("TYPE_STRING" if spec.datatype == BYTES else f"TYPE_{spec.datatype}")


def _tensor(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=spec.shape)
