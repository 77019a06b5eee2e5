"""The model card of a generator: what it is, how to use it, its training data, and its measured quality."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine.training.generator.captions import prompt
from engine.training.generator.generator_spec import CaptionSpec, PoolSpec
from engine.training.generator.image_attributes import ATTRIBUTES

LICENSE = "apache-2.0"


def model_card(record: Mapping[str, Any]) -> str:
    """Return the README.md of the model folder, from the contents of `training.json`."""
    quality, spec = record["quality"], record["spec"]
    guidance = f"with guidance {spec['guidance']:g}" if spec["guidance"] > 1 else "without guidance"
    captions = CaptionSpec.model_validate_json(json.dumps(spec["captions"]))
    highest_words = [words[-1] for words in record["attributes"].values()]
    return f"""---
license: {LICENSE}
library_name: diffusers
pipeline_tag: text-to-image
tags: [synthetic-data]
---

# {record["name"]}

A text-to-image latent diffusion model of {len(record["classes"])} classes at {spec["size"]}x{spec["size"]} pixels, \
{record["parameters"]:,} parameters. It loads like any other:

```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("this/folder")
pipeline("{prompt(captions, record["classes"][-1], *highest_words[:2])}", height={spec["size"]}, width={spec["size"]},
         num_inference_steps={spec["inference_steps"]}, guidance_scale={spec["guidance"]}).images[0]
```

## Training data

{record["world_images"]} {"real" if record["generation"] == 1 else "synthetic"} images of the source \
`{spec["data"]["source"]}`: its world split alone, whose SHA-256 digests are in `world_digests.txt`. No image of the \
train, validation or test split was seen.{_copies(spec["pool"])} Images made by this model have \
{record["generation"]} generation(s) of synthetic data behind them. {spec["credit"]}

## Words

Classes: {", ".join(_with_aliases(name, captions) for name in record["classes"])}. Attributes, each optional, in any \
order:

| attribute | words, from low to high | measured as |
|---|---|---|
{_attribute_table(record["attributes"])}

A word stands for a third of the training pool within its class; the cuts are in `attributes.json`. Other words have \
little or no effect.

## Measured

On {record["judged"]} samples at {spec["inference_steps"]} steps, {guidance}, in the weights of \
this folder:

- label accuracy {quality["label_accuracy"]:.3f} by a classifier trained on the world split, which is itself right on \
{quality["judge_accuracy"]:.3f} of held-out world images; worst class {quality["worst_class"]} \
({quality["worst_class_accuracy"]:.3f})
- variance within a class relative to the training pool: {quality["variety"]:.2f}

Attribute words: the mean of the measure over samples of all classes, and the share of samples in the third that the \
word means (a word without effect would have 0.33).

{_adherence_table(quality["adherence"])}

## Limits

It knows {len(record["classes"])} classes at {spec["size"]}x{spec["size"]} pixels and nothing else. \
Its samples can be ambiguous; filter them where labels must be certain. \
It cannot add what {record["world_images"]} images do not hold.
"""


def _copies(pool: Mapping[str, Any]) -> str:
    if pool["copies"] == 1:
        return ""
    defaults = PoolSpec().model_dump()
    changes = [f"{name} {value}" for name, value in pool.items() if name != "copies" and value != defaults[name]]
    return (
        f" Besides itself, each is in the training pool {pool['copies'] - 1} times changed ({', '.join(changes)}), so "
        "the model also knows these variations, which a classifier trained on unchanged images does not."
    )


def _with_aliases(name: str, captions: CaptionSpec) -> str:
    aliases = ", ".join(f"`{alias}`" for alias in captions.aliases.get(name, ()))
    return f"`{name}`" + (f" (also {aliases})" if aliases else "")


def _attribute_table(attributes: Mapping[str, Sequence[str]]) -> str:
    rows = [
        f"| {name} | {', '.join(f'`{word}`' for word in words)} | {ATTRIBUTES[name].definition} |"
        for name, words in attributes.items()
    ]
    return "\n".join(rows)


def _adherence_table(adherence: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    rows = ["| attribute | word | mean | share |", "|---|---|---|---|"]
    for attribute, words in adherence.items():
        rows += [
            f"| {attribute} ({ATTRIBUTES[attribute].unit}) | {word} | {effect['mean']:.2f} | {effect['share']:.2f} |"
            for word, effect in words.items()
        ]
    return "\n".join(rows)
