"""The model card: what the model is, what it was trained on, what it was measured to do, and how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.generators.training.measures import UNITS, WORDS

LICENSE = "apache-2.0"

#: Whom to name for the real images of a source.
_SOURCES = {
    "digits": " The images are those of E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, "
    "UCI Machine Learning Repository, 1998 (CC BY 4.0), as scikit-learn ships them.",
}


def model_card(record: Mapping[str, Any]) -> str:
    """README.md of the model folder, from the contents of `training.json`."""
    quality = record["quality"]
    spec = record["spec"]
    return f"""---
license: {LICENSE}
library_name: diffusers
pipeline_tag: text-to-image
tags: [synthetic-data, handwritten-digits]
---

# {record["name"]}

A text-to-image latent diffusion model of {len(record["classes"])} classes at {spec["size"]}x{spec["size"]} pixels, \
{record["parameters"]:,} parameters. It loads like any other:

```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("this/folder")
pipeline("a bold right-leaning handwritten digit three", height={spec["size"]}, width={spec["size"]},
         num_inference_steps={spec["inference_steps"]}, guidance_scale=0.0).images[0]
```

## Training data

{record["world_images"]} real images of the source `{spec["data"]["source"]}`: its world split alone, whose SHA-256 \
digests are in `world_digests.txt`. No image of the train, validation or test split was seen. Each image has \
{spec["pool"]["copies"] - 1} slightly changed copies in the training pool (rotation, lean, scale, shift, stroke, \
contrast), so the model also knows these variations, which a classifier trained on unchanged images does not. \
Images made by this model are one generation of synthetic data away from real ones.\
{_SOURCES.get(spec["data"]["source"], "")}

## Words

Classes: {", ".join(f"`{name}`" for name in record["classes"])} (or the label as a number). \
Attributes, each optional, in any order:

| attribute | words, from low to high | measured as |
|---|---|---|
| weight | {_words("weight")} | stroke width, twice the ink over the total variation |
| slant | {_words("slant")} | shear of the second moments, positive to the right |
| size | {_words("size")} | root mean square distance of the ink from its centre |
| contrast | {_words("contrast")} | level of the 95th percentile of the pixels |

A word stands for a third of the training pool within its class; the cuts are in `attributes.json`. Other words have \
little or no effect.

## Measured

On {record["judged"]} samples at {spec["inference_steps"]} steps without guidance, in the weights of this folder:

- label accuracy {quality["label_accuracy"]:.3f} by a classifier trained on the world split, which is itself right on \
{quality["judge_accuracy"]:.3f} of held-out world images; worst class {quality["worst_class"]} \
({quality["worst_class_accuracy"]:.3f})
- variance within a class relative to the training pool: {quality["variety"]:.2f}

Attribute words: the mean of the measure over samples of all classes, and the share of samples in the third that the \
word means (a word without effect would have 0.33).

{_adherence_table(quality["adherence"])}

## Limits

It knows {len(record["classes"])} classes at {spec["size"]}x{spec["size"]} pixels and nothing else. \
Its samples can be ambiguous, as real handwriting is; filter them \
where labels must be certain. It cannot add what {record["world_images"]} images do not hold.
"""


def _words(attribute: str) -> str:
    return ", ".join(f"`{word}`" for word in WORDS[attribute])


def _adherence_table(adherence: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    rows = ["| attribute | word | mean | share |", "|---|---|---|---|"]
    for attribute, words in adherence.items():
        rows += [
            f"| {attribute} ({UNITS[attribute]}) | {word} | {found['mean']:.2f} | {found['share']:.2f} |"
            for word, found in words.items()
        ]
    return "\n".join(rows)
