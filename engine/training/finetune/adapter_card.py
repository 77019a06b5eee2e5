"""The model card of an adapter or a ControlNet: what it is, how to use it, and its training data."""

from collections.abc import Mapping
from typing import Any

import yaml


def adapter_card(record: Mapping[str, Any], hub_base: str | None) -> str:
    """Return the README.md of an adapter. record: content of `training.json`. hub_base: hub id of its base, if any."""
    spec, base = record["spec"], record["base"]
    tags = ["lora", "text-to-image", "diffusers", "template:diffusion-lora", "synthetic-data"]
    return f"""{_head(record, hub_base, tags, instance_prompt=record["prompts"][0])}
A LoRA adapter (rank {spec["rank"]}) for the UNet of `{base["model"]}`, revision `{base["revision"]}`. In the \
spec of a run:

```yaml
model:
  source: {base["model"]}
  adapters:
    - {{source: this/folder, classes: {yaml.safe_dump(record["classes"], default_flow_style=True, width=1000).strip()}}}
```

## Training data

{_data(record)}{_prior(record)}

Prompts: {", ".join(f"`{text}`" for text in record["prompts"])}

Images made with this adapter have {record["generation"]} generation(s) of synthetic data behind them. With few images \
it can repeat them: compare what it makes with what it saw.
"""


def controlnet_card(record: Mapping[str, Any], hub_base: str | None) -> str:
    """Return the README.md of a ControlNet's folder; arguments as in `adapter_card`."""
    base = record["base"]
    colours = "".join(f"| `{name}` | {', '.join(map(str, colour))} |\n" for name, colour in record["palette"].items())
    return f"""{_head(record, hub_base, ["controlnet", "text-to-image", "diffusers", "synthetic-data"])}
A ControlNet for the UNet of `{base["model"]}`, revision `{base["revision"]}`: what it makes follows a mask. In the \
spec of a run:

```yaml
model: {{kind: controlnet, source: {base["model"]}, controlnet: this/folder}}
```

## Masks

The control image has the colour of its class in every pixel, red, green and blue:

| class | colour |
|---|---|
{colours}
## Training data

{_data(record)}

Prompts: {", ".join(f"`{text}`" for text in record["prompts"])}

Images made with it have {record["generation"]} generation(s) of synthetic data behind them. It follows masks that are \
like those it learned from, and may not follow others: look at what it makes before its masks are labels.
"""


def _head(record: Mapping[str, Any], hub_base: str | None, tags: list[str], **more: str) -> str:
    """Return the YAML that the hub reads, and the title."""
    front = {
        "license": record["license"],
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": tags,
        **more,
        **({"base_model": hub_base} if hub_base else {}),
    }
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip()}\n---\n\n# {record['name']}\n"


def _data(record: Mapping[str, Any]) -> str:
    spec = record["spec"]
    return (
        f"{len(record['learned'])} real images of {', '.join(f'`{name}`' for name in record['classes'])}: of the "
        f"{spec['split']} split of the source `{spec['data']['source']}` alone, no image of validation or test. Their "
        "SHA-256 digests are in `world_digests.txt`, their places in `training.json`."
    )


def _prior(record: Mapping[str, Any]) -> str:
    prior = record["spec"]["prior"]
    if prior is None:
        return ""
    texts = ", ".join(f"`{text}`" for text in record["priors"])
    return (
        f" Beside them stood {prior['images']} images of each of {texts}, "
        "which the base model made itself, so that it forgets nothing else (prior preservation)."
    )
