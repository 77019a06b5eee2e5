"""Compiling the networks of a pipeline, for fixed shapes."""

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from engine.errors import ModelError
from shards.storage.locations import cache_home

_CACHE = "TORCHINDUCTOR_CACHE_DIR"
_SHAPES = 64
"""Graphs of one network at most: a shape of a batch and a set of adapters have one each."""
_BY_BLOCKS = "ZImageTransformer2DModel"
"""It takes captions in their own lengths, and makes them one length within: compiled as a whole, it would be anew for
all lengths that come together. What its blocks are given has the length of the bucket."""


def compile_networks(pipe: Any, mode: str) -> None:
    """Let torch.compile have the denoiser, the ControlNet and the VAE's decoder, when they are first called.

    mode: `default`, `reduce-overhead` or `max-autotune`; all but the last choose kernels without timing them, so that
    every actor has the same. The actors of a node share what was compiled. Raises ModelError without a compiler.
    """
    _check_compiler()
    _share_cache()
    from torch import _dynamo, _inductor

    # Beyond its limit torch would go on without compiling, and which batches those are depends on what came before.
    _dynamo.config.recompile_limit, _dynamo.config.fail_on_recompile_limit_hit = _SHAPES, True
    options = {**_inductor.list_mode_options(mode), "deterministic": mode != "max-autotune"}
    networks = [getattr(pipe, name, None) for name in ("unet", "transformer", "controlnet")]
    for network in (*networks, getattr(getattr(pipe, "vae", None), "decoder", None)):
        # Never dynamic: a second shape would be compiled for all, and other bytes be made by who saw it first.
        if network is not None and type(network).__name__ == _BY_BLOCKS:
            for block in network.modules():
                if type(block).__name__ in network._repeated_blocks:
                    block.forward = _dense(torch.compile(block.forward, dynamic=False, options=options))
            network.forward = _own(network.forward, network.forward)
        elif network is not None:
            network.forward = _own(torch.compile(network.forward, dynamic=False, options=options), network.forward)


def _dense(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """Of inputs that are parts of larger tensors strides tell how large those were, and there is a graph for each."""

    def call(*given: Any, **named: Any) -> Any:
        return compiled(*tree_map_only(torch.Tensor, torch.Tensor.contiguous, given), **named)

    return call


def _own(compiled: Callable[..., Any], forward: Callable[..., Any]) -> Callable[..., Any]:
    """What a CUDA graph gives lies where its next run writes; schedulers keep some of it for later steps."""

    @wraps(forward)
    def call(*given: Any, **named: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        return tree_map_only(torch.Tensor, torch.clone, compiled(*given, **named))

    return call


def _share_cache() -> None:
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    # Where the user said nothing, torch writes its own default there, when it is imported.
    if os.environ.get(_CACHE) in (None, default_cache_dir()):
        os.environ[_CACHE] = str(cache_home() / "inductor")


def _check_compiler() -> None:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        raise ModelError(
            "model.fast.compile: torch finds no C++ compiler on this node; install g++, or say compile: none"
        ) from None
