"""The images of the prior: made by the model itself before the training, each from a seed of its own, and kept on disk
until the adapter is finished."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.generators.diffusers_pipeline import DiffusersPipeline
from engine.generators.protocol import Request
from engine.training.finetune.finetune_samples import CachedImage, shot
from engine.training.finetune.finetune_spec import FinetuneSpec
from engine.training.random_streams import derive
from engine.training.training_log import Log
from engine.types import Prompt
from shards.codec import decode_rgb, encode_rgb


def request(text: str, seed: int = 0) -> Request:
    """An image of a prompt, of no class."""
    return Request(Prompt(text, "", (), "prior"), 0, "", seed)


def prior_shots(
    pipe: DiffusersPipeline, spec: FinetuneSpec, prompts: Sequence[str], folder: Path, log: Log
) -> list[CachedImage]:
    """So many shots of each prompt as the prior has; those that the folder holds already are not made again."""
    if spec.prior is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [
        (folder / f"{kind}-{number:05d}.png", request(text, derive(spec.seed, "prior", text, number)))
        for kind, text in enumerate(prompts)
        for number in range(spec.prior.images)
    ]
    missing = [(path, one) for path, one in wanted if not path.exists()]
    if missing:
        log(f"prior: making {len(missing)} of {len(wanted)} images")
    size = spec.prior.batch_size
    for start in range(0, len(missing), size):
        _make(pipe, missing[start : start + size], size)
    return [shot(decode_rgb(path.read_bytes()), one.prompt.text, spec.size) for path, one in wanted]


def _make(pipe: DiffusersPipeline, group: Sequence[tuple[Path, Request]], size: int) -> None:
    """Make one batch, padded to its size, and give each image its name when it is whole."""
    requests = [one for _, one in (*group, *[group[-1]] * (size - len(group)))]
    made = pipe(requests, **pipe.prompts(requests)).images().pixels
    for (path, _), pixels in zip(group, made, strict=False):
        fresh = path.with_suffix(".tmp")
        fresh.write_bytes(encode_rgb(pixels, "png"))
        fresh.replace(path)
