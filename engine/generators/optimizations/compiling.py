"""Compilation of a pipeline's networks, for fixed shapes."""

import os
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from engine.errors import ModelError
from shards.storage.locations import cache_home

_CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
_MAX_GRAPHS = 64  # of one network: each shape of a batch, with each set of adapters, has its own
_COMPILED_BY_BLOCK = "ZImageTransformer2DModel"
"""It pads captions inside, so as a whole it would be compiled for each combination of their lengths."""


def compile_networks(pipe: Any, mode: str) -> None:
    """Compile the denoiser, the ControlNet and the VAE's decoder with torch.compile when they are first called.

    mode: `default`, `reduce-overhead` or `max-autotune`. All but the last choose kernels without timing them, so every
          actor uses the same ones. The actors of a node share compiled code.

    Raises ModelError if there is no compiler.
    """
    _check_compiler()
    _share_cache()
    from torch import _dynamo, _inductor

    # Beyond its limit torch would run uncompiled code, and the order of earlier batches would decide for which shapes.
    _dynamo.config.recompile_limit, _dynamo.config.fail_on_recompile_limit_hit = _MAX_GRAPHS, True
    # All modes but max-autotune choose kernels without timing them, so that every actor uses the same ones.
    options = {**_inductor.list_mode_options(mode), "deterministic": mode != "max-autotune"}
    # Never dynamic: the second shape would be compiled for all shapes, and bytes would depend on the order of shapes.
    compile_forward = partial(torch.compile, dynamic=False, options=options)
    networks = [getattr(pipe, name, None) for name in ("unet", "transformer", "controlnet")]
    for network in (*networks, getattr(getattr(pipe, "vae", None), "decoder", None)):
        if network is not None:
            _compile_network(network, compile_forward)


def _compile_network(network: Any, compile_forward: Callable[..., Any]) -> None:
    if type(network).__name__ != _COMPILED_BY_BLOCK:
        network.forward = _with_own_outputs(compile_forward(network.forward), network.forward)
        return
    for block in network.modules():
        if type(block).__name__ in network._repeated_blocks:
            block.forward = _with_contiguous_inputs(compile_forward(block.forward))
    network.forward = _with_own_outputs(network.forward, network.forward)


def _with_contiguous_inputs(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """Copy inputs that are views of larger tensors: their strides depend on those, and each needs its own graph."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return compiled(*tree_map_only(torch.Tensor, torch.Tensor.contiguous, args), **kwargs)

    return call


def _with_own_outputs(compiled: Callable[..., Any], forward: Callable[..., Any]) -> Callable[..., Any]:
    """Copy outputs: the next run of a CUDA graph overwrites them, and schedulers keep some of them for later steps."""

    @wraps(forward)
    def call(*args: Any, **kwargs: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        return tree_map_only(torch.Tensor, torch.clone, compiled(*args, **kwargs))

    return call


def _share_cache() -> None:
    """Let the actors of a node share compiled code."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    # If the user set no folder, torch sets its own default when it is imported.
    if os.environ.get(_CACHE_VARIABLE) in (None, default_cache_dir()):
        os.environ[_CACHE_VARIABLE] = str(cache_home() / "inductor")


def _check_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise ModelError(
            "model.optimizations.compile: torch finds no C++ compiler on this node; install g++, or say compile: none"
        ) from None
