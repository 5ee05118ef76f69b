"""Processors that tests are run on, by what Linux says of them."""

from __future__ import annotations

import os

import pytest

PROCESSORS = {
    "plain": frozenset({"sse4_2"}),
    "avx2": frozenset({"sse4_2", "avx2"}),
    "vnni": frozenset({"sse4_2", "avx2", "avx512f", "avx512_vnni"}),
    "bf16": frozenset({"sse4_2", "avx2", "avx512f", "avx512_vnni", "avx512_bf16"}),
    "arm": frozenset({"asimd", "asimddp", "bf16"}),
}

computes_bf16 = pytest.mark.skipif(
    "ONEDNN_MAX_CPU_ISA" in os.environ, reason="OpenVINO asks oneDNN for the bfloat16 that it was told to leave out"
)
"""For tests that run a model in bfloat16; a processor without it computes in float32 what it is told to."""
