"""A small ControlNet for the recipes that follow masks or edges."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from engine.config.spec import Spec
from engine.generators.generator import Generator, load_generator
from engine.run.run import Run, begin_run, plan_run
from engine.worker.runner import run_unit

SMALL = ("model.steps=2", "model.batch_size=4", "filters=[]", "cluster.gpus_per_actor=0")


def make_controlnet(model: Path, folder: Path) -> Path:
    """Save a ControlNet of random weights for a tiny pipeline."""
    torch.manual_seed(1)
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16))  # pixels to latents by 2, not 8
    for weight in net.parameters():  # a new ControlNet ends in zeros, so that it begins by changing nothing
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.3)
    net.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Return overrides of a spec."""
    net = make_controlnet(tiny_model, tmp_path_factory.mktemp("net") / "controlnet")
    return f"model.source={tiny_model}", f"model.controlnet={net}"


def begin(spec: Spec, folder: Path) -> tuple[Run, Generator]:
    context = plan_run(spec, folder)
    return begin_run(context, folder), load_generator(spec.model, spec.output.image, spec.cluster)


def make(spec: Spec, folder: Path) -> tuple[Run, list[np.ndarray]]:
    """Make every unit here; also gives every control image that reached the ControlNet, uint8, in order of slots."""
    run, generator = begin(spec, folder)
    seen: list[np.ndarray] = []

    def look(_net: object, _args: object, named: dict[str, Any]) -> None:
        control = named["controlnet_cond"]
        seen.append((control.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy())

    generator._pipe.pipeline.controlnet.register_forward_pre_hook(look, with_kwargs=True)  # type: ignore[attr-defined]
    controls: list[np.ndarray] = []
    for number in run.pending():
        seen.clear()
        run_unit(run.context, number, generator, run.shards)
        size, steps = spec.model.batch_size, 2
        batches = [step[:size] for step in seen[::steps]]  # without the second half, of the negative prompts
        controls += list(np.concatenate(batches)[: len(run.context.plan.unit(number))])
    return run, controls
