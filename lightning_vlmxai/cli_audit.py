"""`vlmxai audit`: a data set, a trained model and a judge, without code."""

from __future__ import annotations

import errno
import shlex
import sys
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace  # type: ignore[attr-defined]

from .attribution import Perturbation
from .auditing import TASKS, AuditBar, AuditModule, make_plan, unpack_row
from .callbacks import VLMAuditCallback
from .cli_judge import add_server_options, make_vlm
from .errors import ConfigurationError, VLMExplainError, expected
from .judges import STYLES, VIEWS, BatchFileJudge, Budget, Judge, ReferenceMaskJudge

_NOT_OF_AUDITS = (
    "Using `DistributedSampler` with the dataloaders",  # what it repeats is counted once
    "It is recommended to use `self.log",  # the same on every rank
    ".*does not have many workers",
    ".*LeafSpec",  # Lightning's own, on torch >= 2.9
)
"""What Lightning warns of that is no matter here."""


def make_audit_parser() -> ArgumentParser:
    """Return the parser of the command's own options."""
    parser = ArgumentParser(
        description="Explain a trained model on a whole data set and have a judge score where it "
        "looks. The same command goes on with an audit that was cut short."
    )
    add = parser.add_argument
    add("--config", action=ActionConfigFile, help="a YAML file of these options")
    add("--model", type=str, help="of torchvision, timm:NAME, or module.Name of your own")
    add("--weights", type=str, help="DEFAULT, a member of torchvision's weights, or a state dict")
    add("--ckpt", type=str, help="checkpoint of your own LightningModule")
    add(
        "--model-args", type=dict[str, Any], default={}, help="of module.Name: --model-args.width 4"
    )
    add("--class-names", type=str, help="of the outputs: a file, or ResNet18_Weights.DEFAULT")
    add("--task", choices=["auto", *TASKS], default="auto", help="what outputs mean")
    add(
        "--data",
        type=str,
        help="a folder with a folder a class, oxford-iiit-pet:ROOT[:species], voc:ROOT, "
        "coco:IMAGES:ANNOTATIONS, or module.Name of your own data module",
    )
    add("--data-args", type=dict[str, Any], default={}, help="of module.Name")
    add("--masks", type=Path, help="folder of masks, parallel to a folder of pictures")
    add("--mask-values", type=list[float] | None, help='on the object: "[1]"; found out if none')
    add("--split", type=str, help="of pets (test, trainval) or VOC (val, train, trainval)")
    add("--labels", type=str, help="CSV or JSON: class of the data, then classes of the model")
    add("--resize", type=int, help="of the short side; as the model's weights say if none")
    add("--crop", type=int, help="of the middle, a square; as the model's weights say if none")
    add("--mean", type=list[float] | None, help='a channel, of pixels in [0, 1]: "[0.5, 0.5, 0.5]"')
    add("--std", type=list[float] | None, help="a channel")
    add("--stage", choices=["validate", "test", "predict"], default="validate", help="of Lightning")
    add("--limit", type=int, help="pictures at most, spread over the data")
    add("--batch-size", type=int, help="32, or 1 where pictures have different sizes, if none")
    add("--num-workers", type=int, help="processes that read pictures; 0 if none")
    add("--devices", type=str, default="auto", help="how many, or which: 2, [0, 3]")
    add(
        "--trainer",
        type=dict[str, Any],
        default={},
        help="more of Lightning: --trainer.precision bf16-mixed",
    )
    add(
        "--judge", type=str, default="reference", help="reference (object masks), or a model's name"
    )
    add("--batch-out", type=Path, help="write the judge's requests to this file, ask nothing")
    add("--style", choices=list(STYLES), default="original", help="of the prompt")
    add("--view", choices=list(VIEWS), default="masked", help="what the judge is shown")
    add_server_options(parser)
    add("--budget-usd", type=float, help="dollars at most")
    add("--budget-calls", type=int, help="requests at most")
    add("--method", type=str, default="gradcam", help="of attribution")
    add(
        "--perturbation",
        type=dict[str, Any],
        default={},
        help="of rise, occlusion and the like: --perturbation.masks 500",
    )
    add(
        "--faithfulness",
        type=list[str],
        default=[],
        help='of the maps, kept beside each sample: "[deletion, insertion, average_drop, aopc]"',
    )
    add("--target-layer", type=str, help="dotted name of the layer; found out if none")
    add("--alpha", type=float, default=15.0, help="sharpness of the mask")
    add("--beta", type=float, default=0.6, help="threshold of the mask")
    add("--fill", type=str, default="black", help="black, blur, grey or mean")
    add("--threshold", type=float, default=2.5, help="High from this score")
    add(
        "--groups", type=list[str], default=[], help="fields of a data module's rows, to compare by"
    )
    add("--pictures", type=int, default=2000, help="of so many samples at most pictures are kept")
    add("--max-pending", type=int, default=128, help="explained samples that wait for the judge")
    add("--on-judge-error", choices=["warn", "raise"], default="warn")
    add("--on-bad-image", choices=["error", "skip"], default="error", help="that can't be read")
    add("--out", type=Path, default=Path("vlmxai-audit"), help="run folder; gone on with if there")
    return parser


def run_audit(given: Namespace) -> int:
    """Audit, and return the exit status: 0, or 130 if it was interrupted.

    Args:
        given: Options of `make_audit_parser`.

    Raises:
        ConfigurationError: If it can't be done so.
    """
    _check(given)
    for message in _NOT_OF_AUDITS:
        warnings.filterwarnings("ignore", message)
    judge = _make_judge(given)
    plan = make_plan(given)
    if given.judge == "reference" and plan.lacks_masks:
        raise ConfigurationError(
            expected(
                "judge",
                "a model's name, where the data have no masks for the reference judge",
                given.judge,
                "Pass --masks FOLDER, or --judge gemini-2.5-flash-lite --base-url URL",
            )
        )
    callback = VLMAuditCallback(
        judge,
        task=plan.task,
        class_names=plan.class_names,
        target_layer=given.target_layer,
        method=given.method,
        perturbation=_make_perturbation(given.perturbation),
        alpha=given.alpha,
        beta=given.beta,
        fill=given.fill,
        threshold=given.threshold,
        normalization=plan.normalization,
        unpack=unpack_row if plan.is_ours else None,
        groups=given.groups,
        faithfulness=given.faithfulness,
        pictures=given.pictures,
        max_pending=given.max_pending,
        on_judge_error=given.on_judge_error,
        run_dir=given.out,
    )
    trainer = _make_trainer(given, callback)
    if trainer.is_global_zero:
        for line in plan.told:
            _say(line)
    run = getattr(trainer, given.stage)
    named: dict[str, Any] = {} if given.stage == "predict" else {"verbose": False}
    if isinstance(plan.loaders, pl.LightningDataModule):
        named["datamodule"] = plan.loaders
    else:
        named["dataloaders"] = plan.loaders
    if given.stage == "predict":
        named["return_predictions"] = False
    try:
        run(plan.module, **named)
    except (KeyboardInterrupt, SystemExit):
        if trainer.is_global_zero:
            _say(_how_to_go_on(given, callback))
        return 130
    except VLMExplainError as error:
        raise ConfigurationError(str(error)) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ConfigurationError(
            expected(
                "out",
                "on a disk with room",
                f"{given.out}, whose disk is full",
                f"Make room there; nothing is lost, and the same goes on: {_command()}",
            )
        ) from error
    if trainer.is_global_zero:
        for line in _tell_end(given, plan.module, trainer.world_size):
            _say(line)
    return 0


def _check(given: Namespace) -> None:
    for name, remedy in (
        ("model", "Pass --model resnet18 --weights DEFAULT"),
        ("data", "Pass --data FOLDER, of a folder of pictures for each class"),
    ):
        if not getattr(given, name):
            raise ConfigurationError(expected(name, "named", None, remedy))
    for name, least in (("limit", 1), ("batch_size", 1), ("num_workers", 0), ("crop", 1),
                        ("resize", 1)):  # fmt: skip
        value = getattr(given, name)
        if value is not None and value < least:
            option = name.replace("_", "-")
            remedy = f"Pass --{option} {max(least, 1)}"
            raise ConfigurationError(expected(option, f"at least {least}", value, remedy))


def _make_judge(given: Namespace) -> Judge:
    budget = None
    if given.budget_usd is not None or given.budget_calls is not None:
        budget = Budget(max_usd=given.budget_usd, max_calls=given.budget_calls)
    if given.judge != "reference":
        vlm = make_vlm(given, given.judge, style=given.style, view=given.view, budget=budget)
        return vlm if given.batch_out is None else BatchFileJudge(vlm, given.batch_out)
    if given.batch_out is not None:
        raise ConfigurationError(
            expected("judge", "the name of a model for --batch-out", given.judge, "Name a --judge")
        )
    if budget is not None:
        raise ConfigurationError(
            expected("budget", "of a judge that is paid", given.judge, "Name a --judge")
        )
    return ReferenceMaskJudge()


def _make_perturbation(given: dict[str, Any]) -> Perturbation:
    try:
        return Perturbation(**given)
    except TypeError as error:
        names = ", ".join(field.name for field in fields(Perturbation))
        raise ConfigurationError(
            expected("perturbation", f"of {names}", error, "Pass --perturbation.masks 500")
        ) from error


def _make_trainer(given: Namespace, callback: VLMAuditCallback) -> pl.Trainer:
    devices: Any = given.devices
    if devices.lstrip("-").isdigit():
        devices = int(devices)
    elif devices.startswith("["):
        devices = [int(part) for part in devices.strip("[]").split(",") if part.strip()]
    settings = {
        "devices": devices,
        "logger": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        **given.trainer,
    }
    bar = [AuditBar(lambda: callback.progress)] if settings.get("enable_progress_bar", True) else []
    try:
        return pl.Trainer(callbacks=[callback, *bar], **settings)
    except (TypeError, ValueError, RuntimeError) as error:
        name = type(error).__name__
        raise ConfigurationError(
            expected(
                "trainer or devices",
                "what Lightning's Trainer takes",
                f"{name}: {error}",
                "Look at Trainer's arguments",
            )
        ) from error


def _how_to_go_on(given: Namespace, callback: VLMAuditCallback) -> str:
    now = callback.progress
    done = now.done + now.judged
    return f"\nStopped, with {done:,} judged so far in {given.out}. The same goes on: {_command()}"


def _command() -> str:
    return shlex.join(["vlmxai", *sys.argv[1:]])


def _tell_end(given: Namespace, module: pl.LightningModule, ranks: int) -> list[str]:
    told = []
    if isinstance(module, AuditModule):
        path = given.out / "skipped.jsonl"
        files = [path, *(path.with_stem(f"skipped-{rank}") for rank in range(1, ranks))]
        files = [file for file in files if file.exists()]
        lines = [line for file in files for line in file.read_text("utf-8").splitlines()]
        if lines:
            count = len(set(lines))  # a sampler that pads gives a row to two ranks
            told.append(
                f"{count:,} picture{'' if count == 1 else 's'} can't be read and "
                f"{'is' if count == 1 else 'are'} left out: {', '.join(map(str, files))}"
            )
    return told


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
