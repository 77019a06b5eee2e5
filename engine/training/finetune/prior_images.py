"""Images of the prior: the model itself makes them before the training. They stay on disk until it is finished."""

from collections.abc import Sequence
from pathlib import Path

from engine.generators.diffusers_pipeline import DiffusersPipeline
from engine.generators.generator import Request
from engine.training.finetune.finetune_samples import CachedImage, cache_image
from engine.training.finetune.finetune_spec import FinetuneSpec
from engine.training.random_streams import derive_seed
from engine.training.training_loop import LogLine
from engine.types import Prompt
from shards.codec import decode_rgb, encode_rgb


def prompt_request(text: str, seed: int = 0) -> Request:
    """Return the request for an image of a prompt, of no class."""
    return Request(Prompt(text, "", (), "prior"), 0, "", seed)


def make_prior(
    pipe: DiffusersPipeline, spec: FinetuneSpec, prompts: Sequence[str], folder: Path, log: LogLine
) -> list[CachedImage]:
    """Make the prior's images of each prompt, except those that the folder holds, and return them all."""
    if spec.prior is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    requests = {
        folder / f"{kind}-{number:05d}.png": prompt_request(text, derive_seed(spec.seed, "prior", text, number))
        for kind, text in enumerate(prompts)
        for number in range(spec.prior.images)
    }
    missing = [path for path in requests if not path.exists()]
    if missing:
        log(f"prior: making {len(missing)} of {len(requests)} images")
    size = spec.prior.batch_size
    for start in range(0, len(missing), size):
        paths = missing[start : start + size]
        _make_batch(pipe, paths, [requests[path] for path in paths], size)
    return [
        cache_image(decode_rgb(path.read_bytes()), request.prompt.text, spec.size) for path, request in requests.items()
    ]


def _make_batch(pipe: DiffusersPipeline, paths: Sequence[Path], requests: Sequence[Request], size: int) -> None:
    """Make one batch, padded to its size, and write each image under a temporary name first."""
    padded = [*requests, *[requests[-1]] * (size - len(requests))]
    images = pipe.generate(padded, **pipe.encode_prompts(padded)).images().pixels
    for path, pixels in zip(paths, images, strict=False):
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(encode_rgb(pixels, "png"))
        temporary.replace(path)
