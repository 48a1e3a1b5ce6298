"""Pre-training of a once-for-all body: a subnet classifies by slices, and what it learns the whole has learned."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from shapes_data import make_shapes
from slim_pools import slim_ofa

from optimizer.arch.bodies.ofa_resnet import OfaShape
from optimizer.arch.families import OFA_SHAPES
from optimizer.arch.ofa_space import OfaSpace, OfaSubnet
from optimizer.detectors import Truth
from optimizer.progress import RunProgress
from optimizer.supernet.manifest import key_pool, pretrained_path
from optimizer.supernet.ofa_config import OfaConfig, OfaRecipe
from optimizer.supernet.pretrain_config import Pretraining
from optimizer.supernet.pretraining import BodyClassifier, ClassifyStep, PretrainJob
from optimizer.supernet.training import PoolImages, train_pool
from optimizer.supernet.weights import load_weights
from optimizer.train.config import TrainConfig

CPU = torch.device("cpu")
TRAIN = TrainConfig(epochs=1, lr=1e-3, optimizer="adamw", precision="fp32", checkpoint_every_s=0.0)
PRETRAINING = Pretraining(train=TRAIN, batch_size=8, size=(32, 32))
RECIPE = OfaRecipe(train=TRAIN, pretraining=PRETRAINING, batch_size=2, calibration_images=4)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(OFA_SHAPES, "small", OfaShape((1, 1, 1, 1), (1, 1, 1, 1), (32, 32, 48, 64), 16, 8))
    monkeypatch.setattr(OfaSpace, "arch", slim_ofa)
    yield


class Titles(RunProgress):
    """Notes what is begun."""

    def start_step(self, text: str, total: int) -> None:
        self.titles = [*getattr(self, "titles", []), text]
        super().start_step(text, total)


def make(recipe: OfaRecipe = RECIPE) -> OfaConfig:
    return recipe.make("small", ((64, 64),), 20, "faster_rcnn")


def list_subnets(space: OfaSpace) -> list[OfaSubnet]:
    return [space.largest(), space.representatives()[1], space.smallest()]


def test_a_subnet_classifies_as_its_extraction_with_the_first_columns_of_the_classifier() -> None:
    supernet = make().build(3)
    model, images = BodyClassifier(supernet, 5, 0).eval(), torch.randn(2, 3, 32, 32)
    widths = []
    for subnet in list_subnets(supernet.space):
        features = supernet.run_body(subnet, images)
        alone = supernet.extract(subnet).get_submodule("backbone.body").eval()(images)["3"]
        torch.testing.assert_close(features, alone)
        pooled = alone.mean((2, 3))
        wanted = pooled @ model.classifier.weight[:, : pooled.shape[1]].T + model.classifier.bias
        torch.testing.assert_close(model.classify(features), wanted)
        widths.append(pooled.shape[1])
    assert widths[0] == 64 > widths[2] and not list(model.last.parameters())


def test_a_step_trains_what_its_subnet_holds_and_nothing_else() -> None:
    config = make()
    supernet = config.build(3)
    model = BodyClassifier(supernet, 3, 5).train()
    step = ClassifyStep(supernet, config.classified(), 5, 0.1)
    step.paths = only = OfaSpace("small", ((64, 64),), 20, "faster_rcnn", (0,), (0.65,), (0.2,))
    truths = [Truth(torch.zeros(1, 4), torch.tensor([label])) for label in (0, 1, 2, 1)]
    torch.stack([*step(model, torch.randn(4, 3, 32, 32), truths).values()]).sum().backward()
    width = only.arch(only.largest()).body_maps[-1].width
    gradient = model.classifier.weight.grad
    assert gradient is not None and gradient[:, :width].any() and not gradient[:, width:].any()
    deeper = [name for name, p in model.named_parameters() if ".layer4.1." in name and p.grad is not None]
    assert not deeper, "a block that does not run"
    last = dict(model.named_parameters())["body.layer4.0.conv3.weight"].grad
    assert last is not None and last[:width].any() and not last[width:].any()


def test_the_super_network_starts_from_the_body_that_was_pre_trained(tmp_path: Path) -> None:
    """With or without a path filter and shrinking after it; the job survives JSON."""
    data = make_shapes(tmp_path / "shapes", train=4, val=1)
    config, progress = make(), Titles(Console(file=io.StringIO()))
    pool = train_pool(tmp_path / "pool", config, PoolImages(data.folder, data.train, data.val), CPU, progress)
    assert progress.titles[0].startswith("pre-training on crops of the objects: ")
    assert progress.titles[1].startswith("teachers 1/1")
    first = load_file(pretrained_path(pool.folder))
    fresh = config.build(4)
    assert first.keys() == fresh.body.state_dict().keys()
    assert any(
        not torch.equal(first[name], fresh.body.state_dict()[name]) for name in first if name.endswith("conv3.weight")
    )
    load_weights(fresh.body, pretrained_path(pool.folder))
    assert torch.equal(
        dict(fresh.shared.named_parameters())["backbone.body.layer1.0.conv3.weight"], first["layer1.0.conv3.weight"]
    )
    job = PretrainJob(config=config, folder=Path("pool"), data=Path("data"))
    assert PretrainJob.model_validate(job.model_dump(mode="json")) == job
    others = [
        make(RECIPE.model_copy(update={"pretraining": other}))
        for other in (
            None,
            PRETRAINING.model_copy(update={"size": (48, 48)}),
            PRETRAINING.model_copy(update={"images": "none"}),
        )
    ]
    keys = [key_pool(each, data.train) for each in (config, *others)]
    assert len(set(keys)) == 3 and keys[1] == keys[3]
    assert "pretraining" not in others[0].to_identity()
    filtered = make(RECIPE.model_copy(update={"shrinking": "filter"}))
    assert filtered.pretrained_on == PRETRAINING and filtered.filtered_by is not None
