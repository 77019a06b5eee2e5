"""Which label a class has in a stream, where data sets number their classes differently."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shards.errors import ShardError
from shards.reading.shard_index import ShardIndex


@dataclass(frozen=True)
class ClassMap:
    """Labels by name.

    classes: names in label order, as the stream is to have them.
    renamed: for a class of the shards, by its name or, where the shards tell no names, by its label, the name among
             `classes`, or None to leave its samples out.
    """

    classes: Sequence[str]
    renamed: Mapping[str | int, str | None]

    def label(self, label: int, name: str | None) -> int | None:
        """The stream's label for a class of the shards; None: its samples are left out. Raises ShardError."""
        told = name if name is not None else label
        wanted = self.renamed.get(told, name)
        if wanted is None and told in self.renamed:
            return None
        if wanted is None:
            raise ShardError(f"the shards tell no name for label {label}: give one, class_map={{{label}: NAME}}")
        if wanted not in self.classes:
            raise ShardError(
                f"class {wanted!r} (label {label} in the shards) is none of {list(self.classes)[:8]}: give it another "
                f"name, class_map={{{told!r}: NAME}}, or leave it out, class_map={{{told!r}: None}}"
            )
        return list(self.classes).index(wanted)


def check_same_classes(one: Mapping[int, str], other: Mapping[int, str]) -> None:
    """Raise ShardError where two streams have different names for a label, or different labels for a name."""
    remedy = "open both with the same classes=[...], which aligns labels by name"
    for label in sorted(one.keys() & other.keys()):
        if one[label] != other[label]:
            raise ShardError(f"label {label} is {one[label]!r} in one stream and {other[label]!r} in another: {remedy}")
    ours, theirs = _labels_by_name(one), _labels_by_name(other)
    for name in sorted(ours.keys() & theirs.keys()):
        # ImageNet has two classes of one name; a stream may lack one of these.
        if not (ours[name] <= theirs[name] or theirs[name] <= ours[name]):
            raise ShardError(
                f"class {name!r} is label {min(ours[name])} in one stream and {min(theirs[name])} in another: {remedy}"
            )


def _labels_by_name(classes: Mapping[int, str]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for label, name in classes.items():
        found.setdefault(name, set()).add(label)
    return found


def map_labels(
    index: ShardIndex, classes: Sequence[str] | None, class_map: Mapping[str | int, str | None]
) -> tuple[NDArray[np.int64], dict[int, str], NDArray[np.int64]]:
    """Label of every sample of an index, the names of labels, and the rows that are not left out."""
    pairs, which = index.pairs()
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
    chosen = ClassMap(classes, class_map)
    mapped = (chosen.label(*pair) for pair in pairs)
    found = np.array([-1 if label is None else label for label in mapped], np.int64)[which]
    return found, dict(enumerate(classes)), np.flatnonzero(found >= 0)
