"""Projects of libraries that stream or train without labels."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from projects.base import (
    Classifier,
    Files,
    Project,
    loader,
)
from projects.with_libraries import FromMapping, as_bytes, scaled


def monai_scans() -> Project:
    """Scans of one channel, each normalised by itself: the judge's picture is the user's to say."""
    import monai
    from monai.transforms import Compose, NormalizeIntensityd

    transform = Compose([NormalizeIntensityd(keys=["image"])])

    def rows(seed: int) -> list[Any]:
        files = Files(seed, as_bytes)
        pairs = zip(files.pictures, files.targets, strict=True)
        weights = torch.tensor([0.6, 0.3, 0.1])[:, None, None]
        return [
            {"image": (p.float() * weights).sum(0, keepdim=True) * 20 - 1000, "label": label}
            for p, label in pairs
        ]

    from projects.base import Network

    return Project(
        name="MONAI, scans normalised one by one",
        module=FromMapping(Network(channels=1)),
        train=loader(monai.data.Dataset(rows(0), transform)),
        val=loader(monai.data.Dataset(rows(1), transform)),
        arguments={"picture": lambda row: (row["image"] / 6 + 0.5).clamp(0, 1)},
    )


def webdataset_stream() -> Project:
    """A WebDataset's shards through WebLoader."""
    import io
    import tarfile
    import tempfile
    from pathlib import Path

    import webdataset as wds
    from PIL import Image

    def write(seed: int) -> tuple[str, Tensor]:
        files = Files(seed, as_bytes)
        path = Path(tempfile.mkdtemp()) / "shard-000000.tar"
        with tarfile.open(path, "w") as tar:
            for i, (picture, label) in enumerate(zip(files.pictures, files.targets, strict=True)):
                png = io.BytesIO()
                Image.fromarray(picture.permute(1, 2, 0).numpy()).save(png, "PNG")
                for ext, data in (("png", png.getvalue()), ("cls", str(label).encode())):
                    info = tarfile.TarInfo(f"{i:04}.{ext}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        return str(path), files.pictures

    def stream(path: str) -> Any:
        data = (
            wds.WebDataset(path, shardshuffle=False, empty_check=False)
            .decode("torchrgb")
            .to_tuple("png", "cls")
            .batched(10)
        )
        return wds.WebLoader(data, batch_size=None, num_workers=0)

    (train, _), (val, pictures) = write(0), write(1)
    return Project(
        name="a WebDataset through WebLoader",
        module=Classifier(),
        train=stream(train),
        val=stream(val),
        pictures=pictures,
    )


def litdata_stream() -> Project:
    """A LitData StreamingDataset in a StreamingDataLoader."""
    import tempfile

    import litdata

    def write(seed: int) -> tuple[str, Tensor]:
        files = Files(seed, as_bytes)
        folder = tempfile.mkdtemp()
        from litdata.streaming import Cache

        cache = Cache(folder, chunk_bytes="64MB")
        for i, (picture, label) in enumerate(zip(files.pictures, files.targets, strict=True)):
            cache[i] = {"image": picture.float() / 255, "label": label}
        cache.done()
        cache.merge()
        return folder, files.pictures

    (train, _), (val, pictures) = write(0), write(1)
    return Project(
        name="LitData's streaming data set",
        module=FromMapping(),
        train=litdata.StreamingDataLoader(litdata.StreamingDataset(train), batch_size=10),
        val=litdata.StreamingDataLoader(litdata.StreamingDataset(val), batch_size=10),
        pictures=pictures,
    )


def lightly_probe() -> Project:
    """lightly: a projection head is trained, an online classifier is validated in the step."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead

    class Online(Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.projection_head = SimCLRProjectionHead(16, 16, 8)
            self.criterion = NTXentLoss()

        def logits(self, batch: Any) -> Tensor:
            features = self.network.features(batch[0]).mean(dim=(2, 3))
            logits: Tensor = self.network.head(features.detach())
            return logits

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            views = [batch[0] + 0.05 * torch.randn_like(batch[0]) for _ in range(2)]
            first, second = (
                self.projection_head(self.network.features(v).mean(dim=(2, 3))) for v in views
            )
            loss: Tensor = self.criterion(first, second)
            return loss + F.cross_entropy(self.logits(batch), batch[1])

    val = Files(1, scaled)
    return Project(
        name="lightly's SimCLR with an online classifier",
        module=Online(),
        train=loader(Files(0, scaled)),
        val=loader(val),
        arguments={"method": "scorecam"},  # the head's input is detached: no gradient passes
        pictures=val.pictures,
    )


LIBRARIES: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (monai_scans, ("monai",)),
    (webdataset_stream, ("webdataset",)),
    (litdata_stream, ("litdata",)),
    (lightly_probe, ("lightly",)),
)
