"""Any text as a spec, with any overrides: a spec that reads back as the same and can be planned, or a SpecError."""

from engine.config.spec_file import dump_spec, load_spec
from engine.run.plan import make_plan
from tests.conftest import ROOT
from tests.fuzz.expected import our_errors, scratch

_SEPARATOR = b"\0"
_ODD = (
    b"name: x\nclasses: [a, b]\nplan: {per_class: 2}\nmodel: {source: embedded/digits}\n\0model.steps=8\0plan.cap=1",
    b"a: &a [*a]\nb: !!int ''\nc: !!bool x\nd: 2020-13-45\ne: !!timestamp x\nf: !!float 1:1:1.5\ng: !!binary x\n",
    b"int: 1\nstr: 2\n'a[b': 3\n? [a]\n: 4\n<<: {x: 1}\n!!set {a, b}: .nan\n",
)


def seeds() -> list[bytes]:
    """Return the shipped specs and some with rare YAML tags."""
    return [*(path.read_bytes() for path in sorted((ROOT / "jobs/specs").glob("*.yaml"))), *_ODD]


def check(data: bytes) -> None:
    """Load a spec. The input is its text, followed by overrides that are separated by NUL."""
    text, *overrides = data.split(_SEPARATOR)
    path, again = scratch("spec") / "spec.yaml", scratch("spec") / "again.yaml"
    path.write_bytes(text)
    with our_errors(quoted=False):  # it is the user's own
        spec = load_spec(path, [override.decode(errors="replace") for override in overrides])
        again.write_text(dump_spec(spec), encoding="utf-8")
        assert load_spec(again) == spec
        if spec.classes is not None:
            plan = make_plan(spec, spec.classes, [0] * len(spec.classes))
            assert plan.slot(plan.total - 1).unit == plan.n_units - 1
