"""A policy's forward pass in NumPy: for a few worlds at a time, PyTorch's calls take longer than their arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stalwart.mdp.kernels import relu_of, tanh_of
from stalwart.mdp.policies import Normaliser, Policy

MOST = 128
"""Worlds up to which it is the faster way."""

Heads = Callable[[NDArray[Any]], NDArray[np.float32]]


def heads_of(policy: Policy, worlds: int) -> Heads:
    """From what is seen, (N, inputs) or (N,) states, to the head's numbers (N, outputs), as `policy` gives them.

    It reads the weights where they lie, so it follows training; ask anew after moving the policy elsewhere.
    """
    device = policy.head.weight.device
    if worlds > MOST or policy.cell is not None or policy.pixels or device.type != "cpu":

        def through(seen: NDArray[Any]) -> NDArray[np.float32]:
            with torch.inference_mode():
                found: NDArray[np.float32] = policy(torch.from_numpy(seen).to(device)).cpu().numpy()
            return found

        return through
    layers = [_weights(layer) for layer in policy.body if isinstance(layer, nn.Linear)]
    bend = tanh_of if any(isinstance(layer, nn.Tanh) for layer in policy.body) else relu_of
    last = _weights(policy.head)
    value = None if policy.state_value is None else _weights(policy.state_value)
    norm, states, width = policy.norm, policy.states, policy.inputs
    identity = np.eye(width, dtype=np.float32) if states else None

    def quickly(seen: NDArray[Any]) -> NDArray[np.float32]:
        x: NDArray[np.float32] = seen if identity is None else identity[seen]
        if norm is not None:
            x = _normalised(x, norm)
        for weight, bias in layers:
            x = x @ weight
            bend(x, bias)
        out: NDArray[np.float32] = x @ last[0] + last[1]
        if value is not None:
            out = x @ value[0] + value[1] + out - out.mean(-1, keepdims=True)
        return out

    return quickly


def _weights(layer: nn.Linear) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return _array(layer.weight).T, _array(layer.bias)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    shared: NDArray[np.float32] = tensor.detach().numpy()
    return shared


def _normalised(x: NDArray[np.float32], norm: Normaliser) -> NDArray[np.float32]:
    scaled = (x - norm.mean.numpy()) / np.sqrt(norm.square.numpy() + np.float32(1e-8))
    cut: NDArray[np.float32] = np.minimum(np.maximum(scaled, np.float32(-10.0)), np.float32(10.0))
    return cut
