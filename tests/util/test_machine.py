"""The choice of the number type goes by what the device can do."""

import pytest
import torch

from icelib.util import machine as hardware


@pytest.mark.parametrize(
    ("capability", "bf16", "expected"),
    [
        ("AVX512", True, torch.bfloat16),
        ("AVX512", False, torch.float32),
        ("AVX2", True, torch.float32),
        ("NO AVX", True, torch.float32),
        ("SVE256", True, torch.bfloat16),
    ],
)
def test_auto_goes_by_the_processors_instructions(monkeypatch, capability, bf16, expected):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: bf16)
    assert hardware.choose_precision("auto", torch.device("cpu")) == expected


def test_a_wish_is_followed():
    assert hardware.choose_precision("bfloat16", torch.device("cpu")) == torch.bfloat16
    assert hardware.choose_precision("float32", torch.device("cpu")) == torch.float32


def test_the_environment_is_described():
    found = hardware.describe(torch.device("cpu"), torch.bfloat16)
    assert found["precision"] == "bfloat16" and found["threads"] == torch.get_num_threads() and "CPU" in found["device"]
