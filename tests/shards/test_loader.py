"""PyTorch loaders: equal batches from threads, from any number of workers, and after resuming."""

import json
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from shards import Linear, MixedStream, ShardError, ShardStream, Source
from shards.loader import ShardDataset, ShardLoader
from tests.shards.folders import write


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("loaders")
    return write(root / "real", "r", 21, False, mask=True), write(root / "synthetic", "s", 50, True, mask=True)


def mix(folders: tuple[Path, Path], alpha: Any = 0.5, *, mask: bool = False, **options: Any) -> MixedStream:
    real, synthetic = (ShardStream(folder, threads=options.pop("threads", 1), mask=mask) for folder in folders)
    return MixedStream(real, synthetic, alpha, **({"batch_size": 12} | options))


def keys(batches: Iterable[dict[str, Any]]) -> list[list[str]]:
    return [batch["key"] for batch in batches]


def expected_keys(folders: tuple[Path, Path], steps: int, **options: Any) -> list[list[str]]:
    return [list(batch.key) for batch in islice(mix(folders, **options), steps)]


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_batches_are_equal_for_any_ranks_and_workers(folders: tuple[Path, Path], workers: int, world_size: int) -> None:
    expected = list(islice(mix(folders), 7))
    together = [[""] * 12 for _ in range(7)]
    for rank in range(world_size):
        dataset = ShardDataset(mix(folders, rank=rank, world_size=world_size), steps=7)
        batches = list(DataLoader(dataset, batch_size=None, num_workers=workers))
        assert len(batches) == 7
        for batch, merged, whole in zip(batches, together, expected, strict=True):
            merged[rank::world_size] = batch["key"]
            assert batch["image"].shape == (12 // world_size, 3, 4, 4)
            assert batch["image"][:, 0, 0, 0].tolist() == [int(key[1:]) for key in batch["key"]]
            assert batch["label"].tolist() == whole.label[rank::world_size].tolist()
            assert batch["synthetic"].tolist() == batch["source"].tolist() == [key[0] == "s" for key in batch["key"]]
    assert together == [list(batch.key) for batch in expected]


@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, False), (2, True)])
def test_an_abandoned_pass_does_not_change_the_next(folders: tuple[Path, Path], workers: int, persistent: bool) -> None:
    dataset = ShardDataset(mix(folders), steps=9)
    loader = DataLoader(dataset, batch_size=None, num_workers=workers, persistent_workers=persistent)
    assert len(list(islice(loader, 3))) == 3
    assert keys(loader) == keys(loader) == expected_keys(folders, 9)


def test_a_loader_continues_in_the_next_pass(folders: tuple[Path, Path]) -> None:
    loader = ShardLoader(mix(folders, threads=2), steps=4)
    assert len(loader) == 4
    assert keys(loader) + keys(loader) + keys(loader) == expected_keys(folders, 12)


@pytest.mark.parametrize("ahead", [1, 3])
@pytest.mark.parametrize("stop", range(9))
def test_a_loader_resumes_after_the_returned_batches(folders: tuple[Path, Path], stop: int, ahead: int) -> None:
    loader = ShardLoader(mix(folders), steps=8, ahead=ahead)
    seen = []
    for batch in loader:
        if len(seen) == stop:
            break
        seen.append(batch["key"])
        state = json.loads(json.dumps(loader.state_dict()))
    else:
        assert stop == 8
    if not stop:
        state = ShardLoader(mix(folders)).state_dict()
    for world_size in (1, 3):
        resumed = [
            ShardLoader(mix(folders, rank=rank, world_size=world_size, threads=2), steps=3)
            for rank in range(world_size)
        ]
        for loader in resumed:
            loader.load_state_dict(state)
        rest = [sorted(chain.from_iterable(parts)) for parts in zip(*map(keys, resumed), strict=True)]
        assert rest == [sorted(batch) for batch in expected_keys(folders, stop + 3)[stop:]]


def test_a_loader_ends_with_its_mix(folders: tuple[Path, Path]) -> None:
    real = ShardStream(folders[0])
    assert len(keys(ShardLoader(MixedStream(Source(real, on_exhausted="once"), batch_size=5)))) == 4


def test_a_loader_raises_the_error_of_its_thread(tmp_path: Path) -> None:
    broken = write(tmp_path, "r", 16, False)
    (broken / "00001.tar").write_bytes(b"")
    loader = ShardLoader(MixedStream(ShardStream(broken, shuffle=False), batch_size=8))
    with pytest.raises(ShardError, match=r"00001\.tar"):
        list(loader)


@pytest.mark.parametrize("kind", [ShardLoader, ShardDataset])
def test_without_steps_there_is_no_length(folders: tuple[Path, Path], kind: type[ShardLoader | ShardDataset]) -> None:
    with pytest.raises(TypeError, match="no length"):
        len(kind(mix(folders)))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_worker_starts_its_own_threads(folders: tuple[Path, Path]) -> None:
    stream = MixedStream(ShardStream(folders[0], threads=2), None, 0.0, batch_size=8)
    expected = stream.batch(0).key  # starts the threads of this process
    (batch,) = DataLoader(ShardDataset(stream, steps=1), batch_size=None, num_workers=1, timeout=60)
    assert tuple(batch["key"]) == expected


def test_random_transforms_follow_from_the_batch(folders: tuple[Path, Path]) -> None:
    v2 = pytest.importorskip("torchvision.transforms.v2")
    transform = v2.Compose([v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True), v2.GaussianNoise()])
    expected = [batch["image"] for batch in ShardLoader(mix(folders), 6, transform=transform)]
    assert expected[0].dtype == torch.float32
    assert not torch.equal(expected[0], expected[1])
    torch.manual_seed(1)
    before = torch.get_rng_state()
    again = [batch["image"] for batch in ShardDataset(mix(folders), 6, transform=transform)]
    assert torch.equal(torch.get_rng_state(), before)
    resumed = ShardLoader(mix(folders), 2, transform=transform)
    resumed.load_state_dict({"batch": 4})
    assert all(torch.equal(first, second) for first, second in zip(expected, again, strict=True))
    assert all(torch.equal(image, batch["image"]) for image, batch in zip(expected[4:], resumed, strict=True))


def test_a_transform_does_not_seed_the_trainers_gpus(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seeded: list[int] = []
    for device in ("cuda", "xpu"):
        monkeypatch.setattr(f"torch.{device}.manual_seed_all", seeded.append)
    for batch in ShardLoader(mix(folders), 2, transform=lambda image: image + torch.rand(1)):
        assert batch["image"].dtype == torch.float32
    assert not seeded


def test_a_transform_moves_the_mask_with_its_image(folders: tuple[Path, Path]) -> None:
    v2 = pytest.importorskip("torchvision.transforms.v2")
    crop = v2.RandomCrop((2, 3))
    for batch in ShardLoader(mix(folders, mask=True), 3, transform=crop):
        assert batch["image"].shape == (12, 3, 2, 3)
        assert batch["mask"].shape == (12, 2, 3)
        assert torch.equal(batch["mask"], batch["image"][:, 0])
        assert type(batch["image"]) is type(batch["mask"]) is torch.Tensor


@pytest.mark.filterwarnings("ignore:.set_vital.:UserWarning")  # of torchdata's own
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 3, 6])
def test_torchdata_resumes_a_dataset(folders: tuple[Path, Path], workers: int, stop: int) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    def loader() -> Any:
        return StatefulDataLoader(ShardDataset(mix(folders), steps=8), batch_size=None, num_workers=workers)

    first = loader()
    seen = keys(islice(first, stop))
    state = first.state_dict()
    second = loader()
    second.load_state_dict(state)
    assert seen + keys(second) == expected_keys(folders, 8)


@pytest.mark.filterwarnings("ignore")  # of Lightning's own
def test_lightning_resumes_a_loader(folders: tuple[Path, Path], tmp_path: Path) -> None:
    import lightning

    class Model(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.seen = torch.nn.Linear(48, 3), []

        def training_step(self, batch: dict[str, Any], _: int) -> torch.Tensor:
            self.seen.append(batch["key"])
            return torch.nn.functional.cross_entropy(self.layer(batch["image"].flatten(1) / 255), batch["label"])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.01)

    def fit(steps: int, checkpoint: Path | None) -> tuple[list[list[str]], lightning.Trainer]:
        model = Model()
        trainer = lightning.Trainer(
            max_steps=steps,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(model, ShardLoader(mix(folders), steps=9), ckpt_path=checkpoint)
        return model.seen, trainer

    seen, trainer = fit(4, None)
    trainer.save_checkpoint(tmp_path / "middle.ckpt")
    resumed, _ = fit(9, tmp_path / "middle.ckpt")
    assert seen == expected_keys(folders, 4)
    assert resumed == expected_keys(folders, 9)[4:]


@pytest.mark.parametrize("alpha", [Linear(1.0, 0.0, over=8), {"*": 0.3}])
def test_workers_accept_every_form_of_alpha(folders: tuple[Path, Path], alpha: Any) -> None:
    loader = DataLoader(ShardDataset(mix(folders, alpha), steps=6), batch_size=None, num_workers=2)
    assert keys(loader) == expected_keys(folders, 6, alpha=alpha)
