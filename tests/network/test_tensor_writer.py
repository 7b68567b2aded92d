"""A file that is written tensor by tensor has the bytes that safetensors writes."""

import safetensors.torch
import torch

from tlkit.network import tensor_writer

TENSORS = {
    "b.weight": torch.randn(3, 2),
    "a.weight": torch.randn(4, 3, 2, 2),
    "é": torch.arange(5),
    "empty": torch.empty(0, 3),
    "half": torch.randn(3).bfloat16(),
    "float16": torch.randn(3).half(),
    "double": torch.tensor(1.5, dtype=torch.float64),
    "int": torch.arange(3, dtype=torch.int32),
    "short": torch.arange(3, dtype=torch.int16),
    "byte": torch.arange(7, dtype=torch.uint8),
    "char": torch.arange(7, dtype=torch.int8),
    "flag": torch.tensor([True, False]),
}


def written(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> bytes:
    return b"".join(tensor_writer.chunks(tensors, metadata))


def test_bytes_are_those_of_safetensors() -> None:
    for metadata in ({}, {"classes": '["ä", "b"]'}):
        assert written(TENSORS, metadata) == safetensors.torch.save(TENSORS, metadata or None)


def test_file_without_tensors_can_be_read() -> None:
    assert safetensors.torch.load(written({}, {"progress": "{}"})) == {}


def test_memory_format_and_shared_memory_do_not_matter() -> None:
    image = torch.randn(2, 3, 4, 5)
    tensors = {"one": image.to(memory_format=torch.channels_last), "view": image[0], "whole": image}
    found = safetensors.torch.load(written(tensors, {}))
    assert all(torch.equal(found[name], tensor) and found[name].is_contiguous() for name, tensor in tensors.items())
