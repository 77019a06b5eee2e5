"""The commands that inspect and reshard shards of any origin."""

import json
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.arguments import AddCommand
from jobs.printing import print_text
from jobs.progress import print_progress
from shards.errors import ShardError
from shards.reading.members import Members

if TYPE_CHECKING:
    from shards.storage.locations import ShardFile
    from shards.storage.shard_cache import ShardCache
    from shards.tools.survey import Survey

_CLASSES = 40
_SHOWN = 5


def register(command: AddCommand) -> None:
    """Add the commands."""
    text = "Describe WebDataset shards of any origin: classes, images, fields, and damage."
    look = command("inspect", inspect, text, "inspect 's3://bucket/birds/{00000..00031}.tar' --sheet birds.png")
    look.add_argument("path", metavar="PATH", help="a run, a folder, a .tar, a pattern of tars, or a URL of these")
    look.add_argument("--sheet", metavar="FILE", type=Path, help="write a picture of some images of every class (.png)")
    look.add_argument("--json", action="store_true", help="print it all as JSON")
    look.add_argument("--decode", action="store_true", help="decode every image; compare SHA-256 where it is recorded")
    look.add_argument("--first", metavar="N", type=_count, help="look at the first N shards only")
    _label_argument(look)

    text = (
        "Write shards again: in another size, several places as one, or chosen samples; the same command again resumes."
    )
    pack = command("reshard", reshard, text, "reshard runs/a/shards runs/b/shards --out ab --samples-per-shard 5000")
    pack.add_argument("sources", metavar="SOURCE", nargs="+", help="like inspect's PATH; several are merged, in order")
    pack.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new folder, or one to resume")
    size = pack.add_mutually_exclusive_group()
    size.add_argument(
        "--samples-per-shard", metavar="N", type=_count, default=1000, help="size of a shard (default: %(default)s)"
    )
    size.add_argument("--shards", metavar="N", type=_count, help="number of shards, of nearly equal size")
    pack.add_argument(
        "--select", metavar="FILE", type=Path, help="keep only the keys in column `key` of a parquet file"
    )
    pack.add_argument(
        "--members",
        metavar="EXT,...",
        type=lambda text: tuple(text.lower().split(",")),
        default=(),
        help="keep these members too, like npy,depth.png; image, .mask.png, .cls, .json and .txt are kept anyway",
    )
    _label_argument(pack)


def inspect(arguments: Namespace) -> None:
    """Print the contents. Raise ShardError if something is damaged."""
    from shards.storage.locations import find_tars
    from shards.storage.shard_cache import ShardCache
    from shards.tools.survey import Survey, read_class_names, unfinished_tars

    place = _place(arguments.path)
    all_tars, cache = find_tars(place), ShardCache()
    tars = all_tars[: arguments.first]
    survey = Survey(_roles(arguments), arguments.decode, read_class_names(tars[0]))
    for _ in print_progress(_survey(survey, tars, cache), len(tars), "shards read"):
        pass
    skipped = unfinished_tars(place)
    if arguments.json:
        content = {"path": place, **survey.as_json(), "shards_in_all": len(all_tars), "unfinished": skipped}
        print(json.dumps(content, indent=1, ensure_ascii=False))
    else:
        print_text(f"{place}: {len(tars):,} of {len(all_tars):,} shards" if len(tars) < len(all_tars) else place)
        _print(survey, skipped)
    if arguments.sheet is not None:
        _write_sheet(survey, cache, arguments.sheet)
    if survey.problems:
        raise ShardError(f"{place}: {survey.problems:,} problems, the first: {survey.damaged[0]}")


def reshard(arguments: Namespace) -> None:
    """Write the unfinished shards; print what is left out."""
    from shards.storage.shard_cache import ShardCache
    from shards.tools.reshard import Resharder
    from shards.tools.reshard_plan import ReshardOptions, ReshardPlanner, read_selected_keys

    select = None if arguments.select is None else read_selected_keys(arguments.select)
    roles, cache = _roles(arguments), ShardCache()
    options = ReshardOptions(arguments.samples_per_shard, arguments.shards, select, arguments.members, roles)
    planner = ReshardPlanner([_place(source) for source in arguments.sources], options, cache)
    for _ in print_progress(planner.scan(), planner.shard_count, "shards read"):
        pass
    plan = planner.plan()
    resharder = Resharder(plan, arguments.out, cache)
    resharder.prepare_folder()
    for extension, count in plan.dropped_members.items():
        print_text(f"note: .{extension} of {count:,} samples is left out; --members {extension} keeps it")
    if plan.imageless:
        print_text(f"note: {plan.imageless:,} samples without an image are left out")
    for _ in print_progress(resharder.write(), plan.total, "samples written"):
        pass
    shards = len(options.shard_ranges(plan.total))
    print_text(
        f"resharded to {arguments.out}: {plan.total:,} samples of {len(plan.classes):,} classes in {shards:,} shards"
    )


def _label_argument(added: ArgumentParser) -> None:
    added.add_argument(
        "--label",
        metavar="NAME",
        default="cls",
        help="where class indices are: a member, or json.NAME for a field of the .json (default: .%(default)s)",
    )


def _count(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _place(path: str) -> str:
    """Return the shards folder of a run; any other path as it is."""
    return str(Path(path) / "shards") if (Path(path) / "spec.yaml").is_file() else path


def _roles(arguments: Namespace) -> Members:
    return Members(label=arguments.label)


def _survey(survey: "Survey", tars: "Sequence[ShardFile]", cache: "ShardCache") -> Iterator[int]:
    for done, tar in enumerate(tars, 1):
        survey.add(tar, cache.path(tar))
        yield done


def _print(survey: "Survey", skipped: Sequence[str]) -> None:
    size = sum(tar.size for tar in survey.tars)
    print_text(f"{'shards':10}{len(survey.tars):,} of {_bytes(size)}")
    print_text(f"{'samples':10}{survey.samples:,}")
    if survey.width is not None and survey.height is not None:
        least, most = (f"{survey.width[end]}x{survey.height[end]}" for end in (0, 1))
        sizes = least if least == most else f"width {_span(survey.width)}, height {_span(survey.height)}"
        formats = ", ".join(f"{count:,} {form}" for form, count in survey.formats.most_common())
        print_text(f"{'images':10}{formats}; {sizes}")
    origins = {"synthetic": True, "real": False, "not said": None}
    print_text(f"{'origin':10}" + ", ".join(f"{survey.synthetic[value]:,} {name}" for name, value in origins.items()))
    print_text(f"{'members':10}" + ", ".join(_share(f".{name}", n, survey) for name, n in survey.members.items()))
    for number, (name, types) in enumerate(survey.fields.items()):
        kinds = " or ".join(types)
        print_text(f"{'' if number else 'fields':10}{_share(name, types.total(), survey)}: {kinds}")
    classes = survey.by_class()
    for number, (label, class_name, count) in enumerate(classes[:_CLASSES]):
        which = "no label" if label is None else f"{label}"
        print_text(f"{'' if number else 'classes':10}{which:>8}  {count:>9,}  {class_name or ''}".rstrip())
    if len(classes) > _CLASSES:
        print_text(f"{'':10}and {len(classes) - _CLASSES:,} more classes; --json lists all")
    _print_trouble(survey, skipped)


def _print_trouble(survey: "Survey", skipped: Sequence[str]) -> None:
    repeated, _ = survey.keys.repeated()
    if repeated:
        print_text(f"note: {repeated:,} samples have the key of a sample in another shard")
    if survey.imageless:
        print_text(f"incomplete: {survey.imageless:,} samples without an image")
    if skipped:
        print_text(f"incomplete: {len(skipped):,} shards without a stats file, not read: {', '.join(skipped[:_SHOWN])}")
    for problem in survey.damaged[:_SHOWN]:
        print_text(f"damaged: {problem}")
    if survey.problems > _SHOWN:
        print_text(f"damaged: {survey.problems - _SHOWN:,} more")


def _share(name: str, count: int, survey: "Survey") -> str:
    return name if count == survey.samples else f"{name} ({count:,} of {survey.samples:,} samples)"


def _span(span: tuple[int, int]) -> str:
    return f"{span[0]} to {span[1]}"


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _write_sheet(survey: "Survey", cache: "ShardCache", path: Path) -> None:
    from shards.codec import encode_rgb
    from shards.tools.image_grid import draw_sheet

    try:
        path.write_bytes(encode_rgb(draw_sheet(survey, cache), "png"))
    except OSError as error:
        raise ShardError(f"--sheet {path}: cannot be written: {error.strerror}") from None
