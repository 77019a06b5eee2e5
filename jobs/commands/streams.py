"""The commands for trainers: overlap of splits, and configurations for other readers."""

import json
from argparse import Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING

from jobs.arguments import AddCommand
from shards.errors import ShardmillError

if TYPE_CHECKING:
    from shards.tools.overlap import Overlap

_SHOWN = 5
_PLACE = "a folder, a tar, a pattern such as DIR/{00000..00099}.tar, or a URL of these"
_CLIENTS = ("open_clip", "webdataset", "timm", "datasets", "ray")


def register(command: AddCommand) -> None:
    """Add the commands."""
    text = (
        "Find validation samples that are in train too. Exit code 1 for equal keys or equal bytes; near duplicates are "
        "shown and do not change it, since some only look alike."
    )
    find = command("overlap", overlap, text, "overlap runs/digits/real/train runs/digits/real/validation")
    find.add_argument("train", metavar="TRAIN", help=_PLACE)
    find.add_argument("validation", metavar="VALIDATION", help=_PLACE)
    find.add_argument(
        "--distance",
        metavar="BITS",
        type=int,
        help="bits of 64 in which near duplicates may differ, 0 to 15 (default: 6)",
    )
    find.add_argument("--json", action="store_true", help="print counts and all pairs as JSON")

    text = "Print how another client trains on these shards: a command line or Python, ready to run."
    mixed = command("mix", mix, text, "mix runs/digits/real/train runs/digits/shards --alpha 0.5 --for webdataset")
    mixed.add_argument("real", metavar="REAL", help=_PLACE)
    mixed.add_argument("synthetic", metavar="SYNTHETIC", nargs="?", help="shards to mix in")
    mixed.add_argument("--alpha", metavar="SHARE", type=float, help="the synthetic fraction, between 0 and 1")
    mixed.add_argument("--for", dest="client", choices=_CLIENTS, required=True, help="the client")


def overlap(arguments: Namespace) -> None:
    """Print the shared samples. Raise ShardmillError for equal keys or bytes."""
    from shards import ShardStream
    from shards.tools.overlap import DISTANCE, find_overlap

    # Samples are only compared, so shards that do not say whether they are real are accepted.
    train, validation = (
        ShardStream(place, shuffle=False, synthetic=False) for place in (arguments.train, arguments.validation)
    )
    result = find_overlap(train, validation, DISTANCE if arguments.distance is None else arguments.distance)
    print(_as_json(result) if arguments.json else _as_text(result))
    if result.leaked:
        raise ShardmillError(
            f"{result.leaked:,} of {result.validation:,} samples of {arguments.validation} are in {arguments.train}, "
            "by key or by exact bytes: take them out of one of the two"
        )


def mix(arguments: Namespace) -> None:
    """Print the configuration."""
    from shards.tools.client_mix import open_client_mix
    from shards.tools.interop import CLIENTS

    print(CLIENTS[arguments.client](open_client_mix(arguments.real, arguments.synthetic, arguments.alpha)), end="")


def _as_json(result: "Overlap") -> str:
    pairs = {kind: [pair._asdict() for pair in getattr(result, kind)] for kind in ("key", "bytes", "near")}
    return json.dumps(asdict(result) | pairs, indent=1, ensure_ascii=False)


def _as_text(result: "Overlap") -> str:
    lines = [f"{result.validation:,} validation samples against {result.train:,} of train"]
    for kind, pairs in (
        ("equal keys", result.key),
        ("equal bytes", result.bytes),
        (f"near duplicates, up to {result.distance} bits of 64 apart", result.near),
    ):
        lines.append(f"{kind}: {len(pairs):,}")
        lines += [
            f"  {pair.validation} is like {pair.train} of train, {pair.distance} bits apart" for pair in pairs[:_SHOWN]
        ]
        lines += ["  ..."] * (len(pairs) > _SHOWN)
    lines.append(f"too flat to look for near duplicates: {result.flat:,}")
    return "\n".join(lines)
