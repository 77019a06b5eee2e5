"""Text of `python -m jobs mix`, run by the real clients: both sources appear at their share with their labels."""

import gc
import random
import subprocess
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data.real_shards import write_shard
from shards import Sample
from shards.codec import encode_rgb
from shards.tools.interop import CLIENTS
from tests.conftest import Jobs, start_ray

CLASSES = ("cat", "dog", "eel")
REAL, SYNTHETIC = (5, 1, 3, 2, 4, 1), (20, 30, 33)
ALPHA = 0.3

Seen = tuple[bool, int, int]
"""Of one sample: whether it is synthetic and which class it shows, by its colour; and the label that came with it."""


def write(folder: Path, lengths: Sequence[int], synthetic: bool, form: str, names: Sequence[str] = CLASSES) -> Path:
    """Write shards of plain colours: red encodes the source, green the class."""
    folder.mkdir(parents=True)
    for shard, length in enumerate(lengths, 8):  # 8, 9, 10: numbers that are written in 5 digits each
        samples = []
        for number in range(length):
            label = number % len(names)
            key = f"{'s' if synthetic else 'r'}{shard}-{number}"
            colour = np.full((8, 8, 3), (200 if synthetic else 50, 40 + 80 * label, 0), np.uint8)
            meta = {"key": key, "label": label, "class_name": names[label], "synthetic": synthetic}
            caption = f"a {names[label]}"
            samples.append(Sample(key, encode_rgb(colour, form), form, label, meta | {"prompt": caption}))
        write_shard(folder, f"{shard:05d}", samples)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("mix with 'spaces'")
    return write(root / "real", REAL, False, "jpg"), write(root / "synthetic", SYNTHETIC, True, "png")


def seen(image: Any, label: int) -> Seen:
    red, green, _ = np.asarray(image)[4, 4]
    return bool(red > 125), round((int(green) - 40) / 80), int(label)


def dataset(text: str) -> Any:
    names: dict[str, Any] = {}
    exec(compile(text, "mix", "exec"), names)
    return names["dataset"]


def by_webdataset(text: str) -> Iterator[Seen]:
    return (seen(*row) for row in dataset(text))


def by_hub_datasets(text: str) -> Iterator[Seen]:
    return (seen(row["image"], row["cls"]) for row in dataset(text))


def by_timm(text: str) -> Iterator[Seen]:
    data = dataset(text)
    epoch = data.reader.split_info.num_samples  # then it begins again, to fill the last batch
    assert len(data) == -(-epoch // 64) * 64
    return (seen(*row) for row in islice(data, epoch))


def by_ray(text: str) -> Iterator[Seen]:
    start_ray()
    return (seen(row["image"], row["cls"]) for row in dataset(text).iter_rows())


def by_open_clip(text: str) -> Iterator[Seen]:
    """The training's own parser and loader, on the printed arguments; the text of a sample tells its label."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        from open_clip_train import data
        from open_clip_train.params import parse_args

    shell = ["bash", "-c", "python() { printf '%s\\n' \"$@\"; }\n" + text]
    words = subprocess.run(shell, capture_output=True, text=True, check=True).stdout.splitlines()
    assert words[:2] == ["-m", "open_clip_train.main"]
    args = parse_args([*words[2:], "--batch-size", "32", "--workers", "0", "--train-num-samples", "6000"])
    args.world_size = 1
    with pytest.MonkeyPatch.context() as patch:
        # webdataset 0.2.96 began to mark the ends of shards, which open_clip 3 does not know (its issue 935): it asks
        # for webdataset up to 0.2.86, which had no such marks.
        patch.setattr(data, "tar_file_expander", partial(data.tar_file_expander, eof_value=None))
        loader = data.get_wds_dataset(args, np.asarray, is_train=True, tokenizer=lambda text: [text]).dataloader
        for images, texts in loader:
            for image, caption in zip(images, texts, strict=True):
                yield seen(image, CLASSES.index(caption.removeprefix("a ")))


READERS: dict[str, Callable[[str], Iterable[Seen]]] = {
    "open_clip": by_open_clip,
    "webdataset": by_webdataset,
    "timm": by_timm,
    "datasets": by_hub_datasets,
    "ray": by_ray,
}
client = pytest.mark.parametrize(
    "client",
    [
        "open_clip",
        "webdataset",
        "datasets",
        "timm",
        pytest.param("ray", marks=pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")),
    ],
)
leaves_files_open = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


def printed(jobs: Jobs, *arguments: object) -> str:
    result = jobs("mix", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_client_has_a_reader_here() -> None:
    assert READERS.keys() == CLIENTS.keys()


@leaves_files_open
@client
def test_a_client_sees_both_sources_at_their_share(client: str, folders: tuple[Path, Path], jobs: Jobs) -> None:
    random.seed(0)
    text = printed(jobs, *folders, "--alpha", ALPHA, "--for", client)
    rows = list(islice(READERS[client](text), 6000))
    gc.collect()
    assert {(synthetic, label) for synthetic, _, label in rows} == {(a, b) for a in (False, True) for b in range(3)}
    assert all(shown == label for _, shown, label in rows)
    count = sum(synthetic for synthetic, *_ in rows)
    if client in ("timm", "ray"):  # whole shards, once each or more often
        assert f"# Synthetic: {count} of {len(rows)} in an epoch" in text
        assert abs(count - ALPHA * len(rows)) <= max(SYNTHETIC) / 2
    else:  # open_clip draws whole shards, the others samples
        draws = len(rows) / (max(SYNTHETIC) if client == "open_clip" else 1)
        assert abs(count / len(rows) - ALPHA) < 4 * (ALPHA * (1 - ALPHA) / draws) ** 0.5


@leaves_files_open
@client
def test_a_client_reads_one_source(client: str, folders: tuple[Path, Path], jobs: Jobs) -> None:
    rows = list(islice(READERS[client](printed(jobs, folders[0], "--for", client)), sum(REAL)))
    gc.collect()
    assert len(rows) >= sum(REAL)
    assert all(not synthetic and shown == label for synthetic, shown, label in rows)
    if client in ("timm", "datasets", "ray"):
        labels = [number % 3 for length in REAL for number in range(length)]
        assert sorted(label for *_, label in rows) == sorted(labels), "an epoch is every sample once"


def test_the_command_refuses_other_class_names(folders: tuple[Path, Path], jobs: Jobs, tmp_path: Path) -> None:
    other = write(tmp_path / "other", [3], True, "png", names=("dog", "cat", "eel"))
    result = jobs("mix", folders[0], other, "--alpha", 0.5, "--for", "timm")
    assert result.returncode == 1
    assert "label 0 is 'cat' in one stream and 'dog' in another" in result.stderr
