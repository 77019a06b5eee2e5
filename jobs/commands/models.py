"""The commands that train generators and adapters."""

from argparse import Namespace

from jobs.arguments import AddCommand, spec_arguments


def register(command: AddCommand) -> None:
    """Add the commands."""
    trainer = command(
        "train-generator",
        train_generator,
        "Train a small text-to-image model on the world split.",
        "train-generator jobs/specs/digits-generator.yaml --out models/digits",
    )
    spec_arguments(trainer)
    tuner = command(
        "finetune",
        finetune,
        "Train LoRA adapters of a model on a few real images, or a ControlNet on their masks.",
        "finetune jobs/specs/few-shot-lora-finetune.yaml --out models/lora/shoebill",
    )
    spec_arguments(tuner)


def train_generator(arguments: Namespace) -> None:
    """Train the generator that a spec describes, or resume it."""
    from engine.config.spec_file import load_as
    from engine.training.generator.generator_spec import GeneratorSpec

    spec = load_as(GeneratorSpec, arguments.spec, arguments.overrides)

    from engine.training.generator.generator_job import train_generator as train

    train(spec, arguments.out, print)


def finetune(arguments: Namespace) -> None:
    """Train the adapters that a spec describes, or resume them."""
    from engine.config.spec_file import load_as
    from engine.training.finetune.finetune_spec import FinetuneSpec

    spec = load_as(FinetuneSpec, arguments.spec, arguments.overrides)

    from engine.training.finetune.finetune_job import finetune as tune

    tune(spec, arguments.out, print)
