"""Labels of a stream, where data sets number their classes differently."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from shards.errors import ShardError
from shards.reading.shard_index import ShardIndex

ClassMap = Mapping[str | int, str | None]
"""Names in the stream, by the shards' class names, or labels if there are no names. None leaves a class out."""


def check_same_classes(first: Mapping[int, str], second: Mapping[int, str]) -> None:
    """Raise ShardError if two streams have different names for a label, or different labels for a name."""
    remedy = "open both with the same classes=[...], which aligns labels by name"
    for label in sorted(first.keys() & second.keys()):
        if first[label] != second[label]:
            raise ShardError(
                f"label {label} is {first[label]!r} in one stream and {second[label]!r} in another: {remedy}"
            )
    labels, others = _labels_by_name(first), _labels_by_name(second)
    for name in sorted(labels.keys() & others.keys()):
        # ImageNet has two classes of one name, and a stream may lack one of them.
        if not (labels[name] <= others[name] or others[name] <= labels[name]):
            raise ShardError(
                f"class {name!r} is label {min(labels[name])} in one stream and {min(others[name])} in another: "
                f"{remedy}"
            )


def _labels_by_name(classes: Mapping[int, str]) -> dict[str, set[int]]:
    labels: dict[str, set[int]] = {}
    for label, name in classes.items():
        labels.setdefault(name, set()).add(label)
    return labels


def map_labels(
    index: ShardIndex, classes: Sequence[str] | None, class_map: ClassMap
) -> tuple[NDArray[np.int64], dict[int, str], NDArray[np.int64]]:
    """Return each sample's label, the labels' names, and the rows that are not left out."""
    pairs, pair_of = index.class_pairs()
    if classes is None:
        if class_map:
            raise ValueError("class_map gives names among `classes`: give those as well")
        names: dict[int, str] = {}
        for label, name in pairs:
            if name is not None and names.setdefault(label, name) != name:
                raise ShardError(
                    f"label {label} is {names[label]!r} in some shards and {name!r} in others: open them with "
                    "classes=[...], which aligns labels by name"
                )
        return index.label, names, np.arange(len(index))
    labels = np.array([_map_label(*pair, list(classes), class_map) for pair in pairs], np.int64)[pair_of]
    return labels, dict(enumerate(classes)), np.flatnonzero(labels >= 0)


def _map_label(label: int, name: str | None, classes: list[str], class_map: ClassMap) -> int:
    """Return the stream's label for a class of the shards; -1 if its samples are left out."""
    key = name if name is not None else label
    target = class_map.get(key, name)
    if target is None and key in class_map:
        return -1
    if target is None:
        raise ShardError(f"the shards have no name for label {label}: give one, class_map={{{label}: NAME}}")
    if target not in classes:
        raise ShardError(
            f"class {target!r} (label {label} in the shards) is none of {classes[:8]}: give it another "
            f"name, class_map={{{key!r}: NAME}}, or leave it out, class_map={{{key!r}: None}}"
        )
    return classes.index(target)
