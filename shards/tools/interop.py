"""How other clients train on the same shards: a command line or Python code to copy, for each of CLIENTS."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from string import Template

from shards.errors import ShardError
from shards.tools.client_mix import ClientMix

_OPEN_CLIP_INSTALL = (
    "# pip install 'open_clip_torch[training]': it needs webdataset up to 0.2.86, which this installs.\n"
)


def open_clip(mix: ClientMix) -> str:
    """Return the command line of open_clip's training."""
    sources = [replace(source, lengths=source.captioned) for source in mix.sources]  # it skips samples without .txt
    if not all(source.samples for source in sources):
        raise ShardError(f"{mix.sources[0].urls[0]}: open_clip trains on captions, and a source has no .txt")
    captioned = ClientMix(sources, mix.shares)
    # It draws shards with replacement, each as often as its factor, so the share of a source is factor * samples.
    patterns = [
        (pattern, float(factor))
        for source, factor in zip(sources, captioned.repeats, strict=True)
        for pattern in _piped_patterns(source.urls)
    ]
    empty = sum(source.empty_captions for source in sources)
    note = f"# {empty:,} captions are empty.\n" if empty else ""
    lines = [
        f"{_average_note(mix)}{_OPEN_CLIP_INSTALL}{note}python -m open_clip_train.main",
        "--dataset-type webdataset --dataset-resampled",
        f"--train-data {shlex.quote('::'.join(pattern for pattern, _ in patterns))}",
        f"--train-data-upsampling-factors {'::'.join(str(factor) for _, factor in patterns)}",
        f"--train-num-samples {captioned.epoch}",
    ]
    return " \\\n  ".join(lines) + "\n"


_WEBDATASET = Template("""\
import webdataset as wds

$lists


def samples(tars):  # endless: shards in random order, samples in a buffer
    rows = wds.WebDataset(tars, resampled=True, shardshuffle=False, nodesplitter=wds.split_by_node).shuffle(1000)
    return rows.decode("pil").to_tuple("png;jpg;jpeg;webp", "$target")


dataset = $dataset
""")


def webdataset(mix: ClientMix) -> str:
    """Return code for an endless dataset of (PIL image, label)."""
    datasets = [f"samples({name})" for name in _names(mix)]
    mixed = f"wds.RandomMix([{', '.join(datasets)}], probs={_shares(mix)})" if len(datasets) > 1 else datasets[0]
    lists = _tar_lists(mix, _piped)
    return _average_note(mix) + _WEBDATASET.substitute(lists=lists, target=_target(mix), dataset=mixed)


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


dataset = $dataset
""")


def hub_datasets(mix: ClientMix) -> str:
    """Return code for a streaming dataset of key, image and label, which ends after every sample came at least once."""
    datasets = [f"samples({name})" for name in _names(mix)]
    mixed = f"""interleave_datasets(
    [{", ".join(datasets)}],
    probabilities={_shares(mix)},
    seed=0,
    stopping_strategy="all_exhausted",  # every sample at least once; "first_exhausted" repeats none
)"""
    target = _target(mix)
    kind = {"cls": "int64", "txt": "string"}[target]
    dataset = mixed if len(datasets) > 1 else datasets[0]
    return _average_note(mix) + _DATASETS.substitute(lists=_tar_lists(mix), target=target, type=kind, dataset=dataset)


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


def ray_data(mix: ClientMix) -> str:
    """Return code for a dataset of one epoch: key, image, label."""
    terms = []
    for name, (repeats, extra) in zip(_names(mix), mix.shard_repeats(), strict=True):
        terms.append(name if repeats == 1 else f"{repeats} * {name}")
        if extra:
            terms.append(f"{name}[:{extra}]")
    target = _target(mix)
    value = {"cls": 'int(row["cls"])', "txt": 'row["txt"].decode()'}[target]
    text = _RAY.substitute(lists=_tar_lists(mix), target=target, value=value, tars=" + ".join(terms))
    return _whole_shards_note(mix) + text


_TIMM = Template("""\
from timm.data import create_dataset

split = (
$split
)
# train.py takes the same: --dataset wds/shards --data-dir '' --train-split, and this string
dataset = create_dataset("wds/shards", root="", split=split, is_training=True, batch_size=64, seed=0)
""")


def timm(mix: ClientMix) -> str:
    """Return code for a dataset of (PIL image, label) for timm's loader."""
    if _target(mix) != "cls":
        raise ShardError(f"{mix.sources[0].urls[0]}: timm trains on labels, and there are samples without .cls")
    patterns: list[str] = []
    # timm reads every shard once an epoch, without weights, so a source is repeated by naming its shards again.
    for source, (repeats, extra) in zip(mix.sources, mix.shard_repeats(), strict=True):
        patterns += _piped_patterns(source.urls) * repeats + _piped_patterns(source.urls[:extra])
    parts = [*(f"{pattern}::" for pattern in patterns[:-1]), f"{patterns[-1]}|{sum(_whole_shard_samples(mix))}"]
    return _whole_shards_note(mix) + _TIMM.substitute(split="\n".join(f"    {part!r}" for part in parts))


CLIENTS: Mapping[str, Callable[[ClientMix], str]] = {
    "open_clip": open_clip,
    "webdataset": webdataset,
    "timm": timm,
    "datasets": hub_datasets,
    "ray": ray_data,
}


_EXACT_MIX = "# With shards.MixedStream it is exactly this after every batch.\n"


def _average_note(mix: ClientMix) -> str:
    return f"# Synthetic: {_percent(mix)} on average.\n{_EXACT_MIX}" if len(mix.sources) > 1 else ""


def _whole_shards_note(mix: ClientMix) -> str:
    if len(mix.sources) == 1:
        return ""
    real, synthetic = _whole_shard_samples(mix)
    nearest = f"the nearest to {_percent(mix)} with whole shards"
    return f"# Synthetic: {synthetic:,} of {real + synthetic:,} in an epoch, {nearest}; shuffled.\n{_EXACT_MIX}"


def _whole_shard_samples(mix: ClientMix) -> list[int]:
    """Return the samples of each source in an epoch of whole shards."""
    return [
        repeats * source.samples + sum(source.lengths[:extra])
        for source, (repeats, extra) in zip(mix.sources, mix.shard_repeats(), strict=True)
    ]


def _percent(mix: ClientMix) -> str:
    return f"{float(100 * mix.shares[1]):g}%"


def _target(mix: ClientMix) -> str:
    """Return the extension that all samples have: the label's, or else the caption's."""
    if all(source.labelled for source in mix.sources):
        return "cls"
    if all(source.captioned == source.lengths for source in mix.sources):
        return "txt"
    raise ShardError(f"{mix.sources[0].urls[0]}: some samples have no label and some have no caption")


def _names(mix: ClientMix) -> Sequence[str]:
    return ("real", "synthetic") if len(mix.sources) > 1 else ("shards",)


def _shares(mix: ClientMix) -> list[float]:
    return [float(share) for share in mix.shares]


def _tar_lists(mix: ClientMix, form: Callable[[str], str] = str) -> str:
    """Return the tars of each source as a Python list with a name."""
    named = zip(_names(mix), mix.sources, strict=True)
    return "\n".join(f"{name} = {python_list([form(url) for url in source.urls])}" for name, source in named)


def _piped(url: str) -> str:
    """Return the URL for webdataset, which reads S3 through a command."""
    return f"pipe:aws s3 cp {url} -" if url.startswith("s3://") else url


def _piped_patterns(urls: Sequence[str]) -> list[str]:
    return brace_patterns([_piped(url) for url in urls])


def brace_patterns(urls: Sequence[str]) -> list[str]:
    """Return patterns like `{00000..00099}` that name exactly these URLs in this order, one per run of numbers."""
    patterns = []
    for run in _runs(urls):
        before, first, after = _numbered(run[0])
        numbers = f"{{{first}..{_numbered(run[-1])[1]}}}" if len(run) > 1 else first
        patterns.append(_escaped(before) + numbers + _escaped(after))
    return patterns


def python_list(urls: Sequence[str]) -> str:
    """Return a Python expression whose value is the list of these URLs."""
    terms = []
    for run in _runs(urls):
        before, digits, after = _numbered(run[0])
        doubled = (text.replace("{", "{{").replace("}", "}}") for text in (before, after))
        pattern = f"{{n:0{len(digits)}d}}".join(doubled)
        numbers = f"[f{pattern!r} for n in range({int(digits or 0)}, {int(digits or 0) + len(run)})]"
        terms.append(numbers if len(run) > 1 else repr(run))
    return " + ".join(terms)


def _runs(urls: Sequence[str]) -> list[list[str]]:
    """Return the URLs in groups of consecutive numbers."""
    runs: list[list[str]] = []
    for url in urls:
        before, digits, after = _numbered(url)
        previous = (before, f"{int(digits) - 1:0{len(digits)}d}", after) if digits.strip("0") else None
        if runs and _numbered(runs[-1][-1]) == previous:
            runs[-1].append(url)
        else:
            runs.append([url])
    return runs


def _numbered(url: str) -> tuple[str, str, str]:
    """Split a URL into the text before its last number, the number, and the rest; without a number all is before it."""
    match = re.fullmatch(r"(.*?)([0-9]+)([^0-9]*)", url)
    return (match[1], match[2], match[3]) if match else (url, "", "")


def _escaped(text: str) -> str:
    return re.sub(r"([\\{}])", r"\\\1", text)
