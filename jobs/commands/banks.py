"""Writing prompt banks."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from jobs.arguments import AddCommand, override_argument, spec_argument


def register(command: AddCommand) -> None:
    """The commands of this file."""
    text = "Write a bank of prompts for each class, by a language model; the same command again resumes."
    _arguments(command("prompts", prompts, text, "prompts jobs/specs/cifar10-prompts.yaml --out banks/cifar10.parquet"))
    text = "Write a bank of captions of the train split, by a vision-language model; the same command again resumes."
    _arguments(
        command("captions", captions, text, "captions jobs/specs/cifar10-captions.yaml --out banks/captions.parquet")
    )


def prompts(arguments: Namespace) -> None:
    """Write a bank of prompts, or go on with it."""
    from engine.config.spec_file import load_as
    from engine.prompts.llm.bank_spec import PromptBankSpec

    spec = load_as(PromptBankSpec, arguments.spec, arguments.overrides)

    from engine.prompts.llm.prompt_job import write_prompts

    print(write_prompts(spec, arguments.out, print))


def captions(arguments: Namespace) -> None:
    """Write a bank of captions, or go on with it."""
    from engine.config.spec_file import load_as
    from engine.prompts.llm.bank_spec import CaptionBankSpec

    spec = load_as(CaptionBankSpec, arguments.spec, arguments.overrides)

    from engine.prompts.llm.caption_job import write_captions

    print(write_captions(spec, arguments.out, print))


def _arguments(added: ArgumentParser) -> None:
    spec_argument(added)
    added.add_argument("--out", metavar="FILE", type=Path, required=True, help="parquet file of the bank")
    override_argument(added)
