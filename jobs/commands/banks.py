"""The commands `prompts` and `captions`, which write prompt banks."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from jobs.arguments import AddCommand, override_argument, spec_argument


def register(command: AddCommand) -> None:
    """Add the commands."""
    text = "Write a bank of prompts for each class, by a language model; the same command again resumes."
    _add_arguments(
        command("prompts", prompts, text, "prompts jobs/specs/cifar10-prompts.yaml --out banks/cifar10.parquet")
    )
    text = "Write a bank of captions of the train split, by a vision-language model; the same command again resumes."
    _add_arguments(
        command("captions", captions, text, "captions jobs/specs/cifar10-captions.yaml --out banks/captions.parquet")
    )


def prompts(arguments: Namespace) -> None:
    """Write a bank of prompts, or resume."""
    from engine.config.spec_file import load_as
    from engine.prompts.llm.bank_jobs import write_prompts
    from engine.prompts.llm.bank_spec import PromptBankSpec

    spec = load_as(PromptBankSpec, arguments.spec, arguments.overrides)
    print(write_prompts(spec, arguments.out, print))


def captions(arguments: Namespace) -> None:
    """Write a bank of captions, or resume."""
    from engine.config.spec_file import load_as
    from engine.prompts.llm.bank_jobs import write_captions
    from engine.prompts.llm.bank_spec import CaptionBankSpec

    spec = load_as(CaptionBankSpec, arguments.spec, arguments.overrides)
    print(write_captions(spec, arguments.out, print))


def _add_arguments(parser: ArgumentParser) -> None:
    spec_argument(parser)
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="parquet file of the bank")
    override_argument(parser)
