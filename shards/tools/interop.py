"""How other clients train on the same shards, from one place or a mix of two: text to copy, for each of CLIENTS."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate
from string import Template

import numpy as np

from shards.errors import ShardError
from shards.reading.class_map import check_same_classes
from shards.reading.shard_index import ShardIndex, open_index
from shards.tools.number_patterns import braces, python_list


@dataclass(frozen=True)
class ClientSource:
    """Shards as a client sees them.

    lengths, captioned: of each shard, how many samples it has, and how many of them have a `.txt`.
    empty: captions of no words. labelled: whether every sample has a label.
    """

    urls: Sequence[str]
    lengths: Sequence[int]
    captioned: Sequence[int]
    empty: int
    labelled: bool

    @property
    def samples(self) -> int:
        """Of all shards."""
        return sum(self.lengths)

    def first_shards(self, samples: Fraction) -> int:
        """How many shards, from the first one, come nearest to so many samples."""
        held = [0, *accumulate(self.lengths)]
        return min(range(len(held)), key=lambda count: abs(held[count] - samples))


@dataclass(frozen=True)
class Mix:
    """One source, or real and synthetic ones, and the share of each in what a trainer sees."""

    sources: Sequence[ClientSource]
    shares: Sequence[Fraction]

    @property
    def times(self) -> list[Fraction]:
        """How often each source is read in an epoch that reads every sample at least once; one of them is read once."""
        wanted = [share / source.samples for share, source in zip(self.shares, self.sources, strict=True)]
        return [each / min(wanted) for each in wanted]

    @property
    def epoch(self) -> int:
        """Samples in such an epoch."""
        return round(sum(times * source.samples for times, source in zip(self.times, self.sources, strict=True)))

    def whole_shards(self) -> list[tuple[int, int]]:
        """The same, as near as whole shards come to it: how often all of a source is read, and how many of its shards
        once more."""
        parts = [(source, divmod(times, 1)) for source, times in zip(self.sources, self.times, strict=True)]
        return [(int(count), source.first_shards(rest * source.samples)) for source, (count, rest) in parts]


def open_mix(real: str, synthetic: str | None, alpha: float | None) -> Mix:
    """One source, or two of which the second has the share `alpha`. Raises ShardError for shards that cannot be read,
    for an alpha that cannot be, and for labels that mean different classes."""
    if synthetic is None:
        if alpha is not None:
            raise ShardError(f"alpha {alpha} is the share of synthetic shards: say where those are")
        return Mix([_source(open_index(real, also=("txt",)))], [Fraction(1)])
    if alpha is None or not 0 < alpha < 1:
        raise ShardError(f"alpha {alpha}: the synthetic share must be between 0 and 1; for all or none name one source")
    indexes = [open_index(place, also=("txt",)) for place in (real, synthetic)]
    check_same_classes(*({label: name for label, name in index.pairs()[0] if name is not None} for index in indexes))
    share = Fraction(str(alpha))  # from its text, so that 0.1 is a tenth
    return Mix([_source(index) for index in indexes], [1 - share, share])


def _source(index: ShardIndex) -> ClientSource:
    offset, size = index.places["txt"]
    lengths, captioned = (
        np.bincount(shard, minlength=len(index.tars)).tolist() for shard in (index.shard, index.shard[offset >= 0])
    )
    empty = int(((offset >= 0) & (size == 0)).sum())
    return ClientSource([tar.url for tar in index.tars], lengths, captioned, empty, bool((index.label >= 0).all()))


_OPEN_CLIP = "# pip install 'open_clip_torch[training]': it needs the webdataset that this brings, up to 0.2.86.\n"


def open_clip(mix: Mix) -> str:
    """Command line of its training. Its shards are drawn with replacement, each as often as its source's factor says,
    so the share of a source is factor * samples, whatever the sizes of its shards."""
    sources = [replace(source, lengths=source.captioned) for source in mix.sources]  # it leaves out the others
    if not all(source.samples for source in sources):
        raise ShardError(f"{mix.sources[0].urls[0]}: open_clip trains on captions, and a source has no .txt")
    seen = Mix(sources, mix.shares)
    runs = [
        (run, float(times)) for source, times in zip(sources, seen.times, strict=True) for run in _braces(source.urls)
    ]
    empty = sum(source.empty for source in sources)
    note = f"# {empty:,} captions are empty.\n" if empty else ""
    lines = [
        f"{_on_average(mix)}{_OPEN_CLIP}{note}python -m open_clip_train.main",
        "--dataset-type webdataset --dataset-resampled",
        f"--train-data {shlex.quote('::'.join(run for run, _ in runs))}",
        f"--train-data-upsampling-factors {'::'.join(str(factor) for _, factor in runs)}",
        f"--train-num-samples {seen.epoch}",
    ]
    return " \\\n  ".join(lines) + "\n"


_WEBDATASET = Template("""\
import webdataset as wds

$lists


def samples(tars):  # endless: shards in random order, samples in a buffer
    rows = wds.WebDataset(tars, resampled=True, shardshuffle=False, nodesplitter=wds.split_by_node).shuffle(1000)
    return rows.decode("pil").to_tuple("png;jpg;jpeg;webp", "$target")


dataset = $made
""")


def webdataset(mix: Mix) -> str:
    """An endless dataset of (PIL image, label)."""
    one, *more = samples = [f"samples({name})" for name in _names(mix)]
    made = f"wds.RandomMix([{', '.join(samples)}], probs={_shares(mix)})" if more else one
    return _on_average(mix) + _WEBDATASET.substitute(lists=_lists(mix, _piped), target=_target(mix), made=made)


_DATASETS = Template("""\
from datasets import Features, Image, Value, interleave_datasets, load_dataset

$lists


columns = Features({"key": Value("string"), "image": Image(), "$target": Value("$type")})


def plain(row):  # the same columns from every source
    image = next(row[name] for name in ("png", "jpg", "jpeg", "webp") if row.get(name) is not None)
    return {"key": row["__key__"], "image": image, "$target": row["$target"]}


def samples(tars):
    rows = load_dataset("webdataset", data_files=tars, split="train", streaming=True)
    return rows.shuffle(seed=0, buffer_size=1000).map(plain, remove_columns=rows.column_names, features=columns)


dataset = $made
""")


def hub_datasets(mix: Mix) -> str:
    """A streaming dataset of key, image and label that ends when every sample came at least once."""
    one, *more = samples = [f"samples({name})" for name in _names(mix)]
    made = f"""interleave_datasets(
    [{", ".join(samples)}],
    probabilities={_shares(mix)},
    seed=0,
    stopping_strategy="all_exhausted",  # every sample at least once; "first_exhausted" repeats none
)"""
    target = _target(mix)
    kind = {"cls": "int64", "txt": "string"}[target]
    text = _DATASETS.substitute(lists=_lists(mix), target=target, type=kind, made=made if more else one)
    return _on_average(mix) + text


_RAY = Template("""\
import io

import numpy as np
import ray
from PIL import Image

$lists


def plain(row):  # the same columns from every source
    image = next(row[name] for name in ("png", "jpg", "jpeg", "webp") if isinstance(row.get(name), bytes))
    pixels = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"))
    return {"key": row["__key__"], "image": pixels, "$target": $value}


tars = $tars
dataset = ray.data.read_webdataset(tars, decoder=None, shuffle="files").map(plain)
# batches: dataset.iter_torch_batches(batch_size=64, local_shuffle_buffer_size=10_000)
""")


def ray_data(mix: Mix) -> str:
    """A dataset of one epoch: key, image, label."""
    tars = [
        term
        for name, (times, more) in zip(_names(mix), mix.whole_shards(), strict=True)
        for term in ([name if times == 1 else f"{times} * {name}"] + ([f"{name}[:{more}]"] if more else []))
    ]
    target = _target(mix)
    value = {"cls": 'int(row["cls"])', "txt": 'row["txt"].decode()'}[target]
    text = _RAY.substitute(lists=_lists(mix), target=target, value=value, tars=" + ".join(tars))
    return _by_whole_shards(mix) + text


_TIMM = Template("""\
from timm.data import create_dataset

split = (
$split
)
# train.py takes the same: --dataset wds/shards --data-dir '' --train-split, and this string
dataset = create_dataset("wds/shards", root="", split=split, is_training=True, batch_size=64, seed=0)
""")


def timm(mix: Mix) -> str:
    """A dataset of (PIL image, label) for timm's loader. timm reads all its shards once an epoch and cannot weight
    them, so a source is repeated by naming its shards again."""
    if _target(mix) != "cls":
        raise ShardError(f"{mix.sources[0].urls[0]}: timm trains on labels, and there are samples without .cls")
    runs, samples = [], 0
    for source, (times, more) in zip(mix.sources, mix.whole_shards(), strict=True):
        runs += _braces(source.urls) * times + _braces(source.urls[:more])
        samples += times * source.samples + sum(source.lengths[:more])
    lines = [f"    {text!r}" for text in (*(f"{run}::" for run in runs[:-1]), f"{runs[-1]}|{samples}")]
    return _by_whole_shards(mix) + _TIMM.substitute(split="\n".join(lines))


CLIENTS: Mapping[str, Callable[[Mix], str]] = {
    "open_clip": open_clip,
    "webdataset": webdataset,
    "timm": timm,
    "datasets": hub_datasets,
    "ray": ray_data,
}


_OURS = "# With shards.MixedStream it is exactly that, after every batch.\n"


def _on_average(mix: Mix) -> str:
    return f"# Synthetic: {_percent(mix)} on average.\n{_OURS}" if len(mix.sources) > 1 else ""


def _by_whole_shards(mix: Mix) -> str:
    if len(mix.sources) == 1:
        return ""
    real, synthetic = (
        times * source.samples + sum(source.lengths[:more])
        for source, (times, more) in zip(mix.sources, mix.whole_shards(), strict=True)
    )
    near = f"as near to {_percent(mix)} as whole shards come"
    return f"# Synthetic: {synthetic:,} of {real + synthetic:,} in an epoch, {near}; shuffled.\n{_OURS}"


def _percent(mix: Mix) -> str:
    return f"{float(100 * mix.shares[1]):g}%"


def _target(mix: Mix) -> str:
    if all(source.labelled for source in mix.sources):
        return "cls"
    if all(source.captioned == source.lengths for source in mix.sources):
        return "txt"
    raise ShardError(f"{mix.sources[0].urls[0]}: there are samples without label and samples without caption")


def _names(mix: Mix) -> Sequence[str]:
    return ("real", "synthetic") if len(mix.sources) > 1 else ("shards",)


def _shares(mix: Mix) -> list[float]:
    return [float(share) for share in mix.shares]


def _lists(mix: Mix, form: Callable[[str], str] = str) -> str:
    """The tars of each source as Python lists."""
    named = zip(_names(mix), mix.sources, strict=True)
    return "\n".join(f"{name} = {python_list([form(url) for url in source.urls])}" for name, source in named)


def _piped(url: str) -> str:
    """For webdataset, which reads S3 through a command."""
    return f"pipe:aws s3 cp {url} -" if url.startswith("s3://") else url


def _braces(urls: Sequence[str]) -> list[str]:
    return braces([_piped(url) for url in urls])
