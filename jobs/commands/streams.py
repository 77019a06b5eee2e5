"""What trainers read: whether their splits overlap, and how other clients mix shards."""

from argparse import Namespace
from typing import TYPE_CHECKING

from jobs.arguments import AddCommand

if TYPE_CHECKING:
    from shards.tools.overlap import Overlap

_SHOWN = 5
_PLACE = "a folder, a tar, a pattern such as DIR/{00000..00099}.tar, or a URL of these"
_CLIENTS = ("open_clip", "webdataset", "timm", "datasets", "ray")


def register(command: AddCommand) -> None:
    """The commands of this file."""
    text = (
        "Find validation samples that also stand in train. Exit code 1 for equal keys or equal bytes; near duplicates "
        "are shown and do not change it, for a few of them are merely alike."
    )
    found = command("overlap", overlap, text, "overlap runs/digits/real/train runs/digits/real/validation")
    found.add_argument("train", metavar="TRAIN", help=_PLACE)
    found.add_argument("validation", metavar="VALIDATION", help=_PLACE)
    found.add_argument(
        "--distance",
        metavar="BITS",
        type=int,
        help="bits of 64 in which near duplicates may differ, 0 to 15 (default: 6)",
    )
    found.add_argument("--json", action="store_true", help="print counts and all pairs as JSON")

    text = "Print how another client trains on these shards: a command line or Python, ready to run."
    mixed = command("mix", mix, text, "mix runs/digits/real/train runs/digits/shards --alpha 0.5 --for webdataset")
    mixed.add_argument("real", metavar="REAL", help=_PLACE)
    mixed.add_argument("synthetic", metavar="SYNTHETIC", nargs="?", help="shards to mix in")
    mixed.add_argument("--alpha", metavar="SHARE", type=float, help="the synthetic fraction, between 0 and 1")
    mixed.add_argument("--for", dest="client", choices=_CLIENTS, required=True, help="the client")


def overlap(arguments: Namespace) -> None:
    """Print what is shared; an error for keys and bytes."""
    from shards import ShardmillError, ShardStream
    from shards.tools.overlap import DISTANCE, find_overlap

    # Whether a sample is real does not matter here, so shards that do not say are taken as they are.
    train, validation = (
        ShardStream(place, shuffle=False, synthetic=False) for place in (arguments.train, arguments.validation)
    )
    found = find_overlap(train, validation, DISTANCE if arguments.distance is None else arguments.distance)
    print(_as_json(found) if arguments.json else _as_text(found))
    if found.leaked:
        raise ShardmillError(
            f"{found.leaked:,} of {found.validation:,} samples of {arguments.validation} are in {arguments.train} too, "
            "by key or by exact bytes: take them out of one of the two"
        )


def mix(arguments: Namespace) -> None:
    """Print the text."""
    from shards.tools.client_mix import open_client_mix
    from shards.tools.interop import CLIENTS

    print(CLIENTS[arguments.client](open_client_mix(arguments.real, arguments.synthetic, arguments.alpha)), end="")


def _as_json(found: "Overlap") -> str:
    import json
    from dataclasses import asdict

    pairs = {kind: [pair._asdict() for pair in getattr(found, kind)] for kind in ("key", "bytes", "near")}
    return json.dumps(asdict(found) | pairs, indent=1, ensure_ascii=False)


def _as_text(found: "Overlap") -> str:
    lines = [f"{found.validation:,} validation samples against {found.train:,} of train"]
    for kind, pairs in (
        ("equal keys", found.key),
        ("equal bytes", found.bytes),
        (f"near duplicates, up to {found.distance} bits of 64 apart", found.near),
    ):
        lines.append(f"{kind}: {len(pairs):,}")
        lines += [
            f"  {one.validation} is like {one.train} of train, {one.distance} bits apart" for one in pairs[:_SHOWN]
        ]
        lines += ["  ..."] * (len(pairs) > _SHOWN)
    lines.append(f"too flat to look for near duplicates: {found.flat:,}")
    return "\n".join(lines)
