"""`vlmxai agree`: figures against scipy and scikit-learn, bad files, and what it keeps."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from lightning_vlmxai.cli import main
from lightning_vlmxai.report import write_report
from lightning_vlmxai.report.agreements import FILE, Agreements, load_agreements
from lightning_vlmxai.report.rating import digest_round, list_rateable, name_sample
from lightning_vlmxai.report.ratings import load_ratings
from lightning_vlmxai.report.reader import read_run
from lightning_vlmxai.trust import corrected_rate
from run_folders import make_round, write_run

Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def judged(folder: Path, key: str = "fit-1") -> dict[str, float]:
    """Return the judge's scores by the names of the samples."""
    (of,) = (of for of in read_run(folder).rounds if of.key == key)
    return {name_sample(s): s.score for s in list_rateable(of) if s.score is not None}


def rate(
    folder: Path,
    rater: str,
    *,
    seed: int,
    number: int = 60,
    key: str = "fit-1",
    weights: Sequence[int] = (1, 3),
    change: Callable[[dict[str, Any]], object] = dict.copy,
) -> Path:
    """Write a file as the Rate page does: the judge's score with some noise, and weights."""
    generator = random.Random(seed)  # noqa: S311 - no secret
    scores = judged(folder, key)
    (of,) = (of for of in read_run(folder).rounds if of.key == key)
    file = {
        "format": "vlmxai-ratings",
        "version": 1,
        "rater": rater,
        "round": key,
        "digest": digest_round(of),
        "draw": {"size": 60},
        "ratings": [
            {
                "sample": name,
                "score": min(5, max(0, round(score + generator.gauss(0, 1)))),
                "weight": weights[int(name.split("/")[1]) % len(weights)],
                "note": "",
            }
            for name, score in list(scores.items())[:number]
        ],
        "skipped": [],
    }
    change(file)
    path = folder / f"{rater}.json"
    path.write_text(json.dumps(file))
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run folder of two rounds of 80 probes."""
    folder = tmp_path / "run"
    write_run(folder, [make_round(n, probes=80, side=6) for n in (0, 1)])
    return folder


def agreements(folder: Path) -> Agreements:
    """Return what was kept of the one round."""
    (found,) = load_agreements(read_run(folder))
    return found


def scores_of(path: Path) -> dict[str, tuple[int, int]]:
    """Return score and weight by sample."""
    rows = json.loads(path.read_text())["ratings"]
    return {row["sample"]: (row["score"], row["weight"]) for row in rows}


def test_figures_are_the_peers(run: Path, capsys: Out) -> None:
    """Of two people and a judge, each sample written out as often as its weight says."""
    paths = [rate(run, name, seed=n, number=60 - 20 * n) for n, name in enumerate(("ann", "ben"))]
    assert main(["agree", str(run), *map(str, paths)]) == 0
    printed = capsys.readouterr().out
    ann, ben = map(scores_of, paths)
    judge = judged(run)
    mean = {n: np.mean([of[n][0] for of in (ann, ben) if n in of]) for n in ann}
    wanted = {
        ("ann", "ben"): [(ann[n][0], ben[n][0], ann[n][1]) for n in ann if n in ben],
        ("scripted", "ann"): [(judge[n], ann[n][0], ann[n][1]) for n in ann],
        ("scripted", "ben"): [(judge[n], ben[n][0], ben[n][1]) for n in ben],
        ("scripted", "people's mean"): [(judge[n], mean[n], ann[n][1]) for n in ann],
    }
    pairs = {(pair.first, pair.second): pair for pair in agreements(run).pairs}
    assert list(pairs) == list(wanted)
    for names, rows in wanted.items():
        pair = pairs[names]
        x, y = (np.repeat([r[k] for r in rows], [r[2] for r in rows]) for k in (0, 1))
        assert pair.number == len(rows)
        told = {name: of.value for name, of in pair.figures.items()}
        assert told["pearson"] == pytest.approx(stats.pearsonr(x, y)[0])
        assert told["spearman"] == pytest.approx(stats.spearmanr(x, y)[0])
        assert told["difference"] == pytest.approx((x - y).mean())
        # Scores between whole numbers as classes of their own, in steps of a quarter.
        kappa = cohen_kappa_score(
            (4 * x).astype(int), (4 * y).astype(int), weights="quadratic", labels=range(21)
        )
        assert told["kappa"] == pytest.approx(kappa)
        for name, of in pair.figures.items():
            assert of.interval is not None, name
            assert of.interval.lower < of.value < of.interval.upper  # type: ignore[operator]
            assert f"{of.value:.2f}" in printed
            assert f"[{of.interval.lower:.2f}, {of.interval.upper:.2f}]" in printed
    assert "bootstrap over probes" in printed
    assert "the rates of others stand as the judge made them (fit-0)" in printed
    assert "What can't be concluded" not in printed


def test_three_people_have_an_alpha(run: Path, capsys: Out) -> None:
    """And with the same file twice it is asked whether that is meant."""
    paths = [rate(run, name, seed=n // 2) for n, name in enumerate("abc")]
    assert main(["agree", str(run), *map(str, paths)]) == 0
    printed = capsys.readouterr().out
    assert "Krippendorff's alpha of all 3 people, 60 samples: 0." in printed
    assert "a and b gave the same scores throughout: is it one file twice?" in printed
    assert "no interval: not one disagreement was seen" in printed


def test_rates_are_corrected_by_the_weights(run: Path, capsys: Out) -> None:
    """As `trust.corrected_rate` has them, of the right and of the wrong ones; people vote."""
    paths = [rate(run, name, seed=n, number=60 - 20 * n) for n, name in enumerate(("ann", "ben"))]
    assert main(["agree", str(run), *map(str, paths)]) == 0
    printed = capsys.readouterr().out
    rated = [scores_of(path) for path in paths]
    of = read_run(run).rounds[-1]
    for is_right, name in ((True, "right"), (False, "wrong")):
        samples = [s for s in of.samples if s.score is not None and s.is_correct is is_right]
        votes = [
            [r[name_sample(s)][0] < 2.5 for r in rated if name_sample(s) in r] for s in samples
        ]
        told = corrected_rate(
            [s.score < 2.5 for s in samples if s.score is not None],
            [sum(v) / len(v) if v else None for v in votes],
            weights=[1.0 if s.probe % 2 == 0 else 3.0 for s in samples],
        )
        assert f"Low, of the {name} ones (2 people): {told}" in printed


def test_what_was_rated_before_stays(run: Path, capsys: Out) -> None:
    """Without a file those in the folder are told of; a person's new ones replace the old."""
    main(["agree", str(run), str(rate(run, "ann", seed=0))])
    main(["agree", str(run), str(rate(run, "ben", seed=1))])
    assert "Rated before" in capsys.readouterr().out
    first = (run / FILE).read_bytes()
    assert main(["agree", str(run)]) == 0
    assert (run / FILE).read_bytes() == first
    main(["agree", str(run), str(rate(run, "ann", seed=2, number=30))])
    ratings, notices = load_ratings(read_run(run))
    assert [(r.rater, len(r.scores)) for r in ratings] == [("ann", 30), ("ben", 60)]
    assert notices == []


def test_few_ratings_say_what_can_not_be_concluded(run: Path, capsys: Out) -> None:
    """Below 30, by pair and for the rates."""
    main(["agree", str(run), str(rate(run, "ann", seed=0, number=20))])
    printed = capsys.readouterr().out
    assert "Fewer than 30 samples: scripted and ann (20). What can't be concluded" in printed
    assert "20 rated samples: too few to correct a rate" in printed


def test_a_csv_has_equal_weights_and_says_so(run: Path, capsys: Out) -> None:
    """By full names, or by bare probe numbers of a round that is named; either delimiter."""
    judge = judged(run)
    full, bare = run / "full.csv", run / "bare.csv"
    full.write_text("sample,score\n" + "".join(f"{n},{round(s)}\n" for n, s in judge.items()))
    bare.write_text(
        "\ufeffScore;Sample\r\n"
        + "".join(f"{round(s)};{n.split('/')[1]}\r\n" for n, s in judge.items())
    )
    assert main(["agree", str(run), str(full)]) == 0
    printed = capsys.readouterr().out
    assert "full.csv: a CSV tells no weights; all samples are taken to have had" in printed
    assert main(["agree", str(run), str(bare)]) == 2
    assert "pass --round fit-1." in capsys.readouterr().err
    assert main(["agree", str(run), str(bare), "--round", "fit-1"]) == 0
    assert "is it one file twice?" in capsys.readouterr().out
    x, y = np.array(list(judge.values())), np.array([round(s) for s in judge.values()])
    pair = next(p for p in agreements(run).pairs if p.kind == "judge" and p.second == "full")
    assert pair.figures["pearson"].value == pytest.approx(stats.pearsonr(x, y)[0])


def break_rows(file: dict[str, Any]) -> None:
    """Make one row of each kind that is no good."""
    rows = file["ratings"]
    rows[0]["score"] = 7
    rows[1]["score"] = None
    rows[2]["sample"] = "fit-1/999"
    rows.append({**rows[3], "score": 0})
    rows[4]["weight"] = 0
    rows[5] = "nothing"


def test_lines_that_are_no_good_are_named(run: Path, capsys: Out) -> None:
    """Out of range, without a score, unknown, twice, without a weight: left out, and told."""
    path = rate(run, "ann", seed=0, change=break_rows)
    names = list(judged(run))[:5]
    assert main(["agree", str(run), str(path)]) == 0
    printed = capsys.readouterr().out
    for line in (
        f"ann.json: without a score from 0 to 5, left out: {names[0]}, {names[1]}.",
        "ann.json: no sample of fit-1, left out: fit-1/999, (no name).",
        f"ann.json: rated more than once, left out: {names[3]}.",
        f"ann.json: without a weight above 0, left out: {names[4]}.",
    ):
        assert line in printed
    (ratings,), _ = load_ratings(read_run(run))
    assert len(ratings.scores) == 60 - 6
    unjudged = next(s for s in read_run(run).rounds[-1].samples if s.score is None)
    file = run / "c.csv"
    file.write_text(f"sample,score\n{name_sample(unjudged)},3\n{names[0]},2\n")
    main(["agree", str(run), str(file)])
    assert (
        f"not judged, so in no rate, left out: {name_sample(unjudged)}." in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda p: p.write_text("{"), "got neither such JSON nor CSV with these columns ('{')"),
        (lambda p: p.write_text("[1]"), "got other JSON. Pass the file that the Rate page"),
        (lambda p: p.write_text("a,b\n1,2\n"), "Let its first line be: sample,score"),
        (lambda p: p.write_text("sample,score\n"), "Write samples as fit-1/12"),
        (lambda p: p.write_text("sample,score\nfit-1/0,9\n"), "got no rating that can be used"),
        (
            lambda p: p.write_text("sample,score\nfit-0/0,1\nfit-1/3,1\n"),
            "got ratings of several rounds: fit-0 (1), fit-1 (1). Pass a file for each",
        ),
        (lambda p: p.write_bytes(b"\xff\xfe\x00"), "Pass the file that the Rate page downloads"),
        (Path.exists, "No such file"),
    ],
)
def test_a_file_that_is_no_good_is_refused(
    run: Path, write: Callable[[Path], object], said: str, capsys: Out
) -> None:
    """In a sentence with what to do, and nothing is written."""
    path = run / "bad.file"
    write(path)
    assert main(["agree", str(run), str(path)]) == 2
    assert said in capsys.readouterr().err
    assert not (run / FILE).exists()
    assert not (run / "ratings").exists()


def test_another_run_s_ratings_are_refused(run: Path, tmp_path: Path, capsys: Out) -> None:
    """Though the probes are the same; those that are kept no longer fit a round written anew."""
    other = tmp_path / "other"
    write_run(other, [make_round(1, probes=80, side=6, score=lambda probe, _: 5.0 - probe * 3 % 6)])
    assert main(["agree", str(run), str(rate(other, "ann", seed=0))]) == 2
    assert (
        "to be ratings of this run, got ratings of another run's 'fit-1'" in capsys.readouterr().err
    )
    main(["agree", str(run), str(rate(run, "ann", seed=0))])
    (other / "samples.jsonl").replace(run / "samples.jsonl")
    _, (notice,) = load_ratings(read_run(run))
    assert "ratings/fit-1-ann.json was left out" in notice
    assert load_agreements(read_run(run)) == []


def test_two_files_of_one_person_are_refused(run: Path, capsys: Out) -> None:
    """One would replace the other."""
    first = rate(run, "ann", seed=0)
    second = first.rename(run / "first.json"), rate(run, "ann", seed=1)
    assert main(["agree", str(run), *map(str, second)]) == 2
    assert "two files by 'ann'" in capsys.readouterr().err


def test_people_of_two_draws_are_not_mixed(run: Path, capsys: Out) -> None:
    """The draw with the most ratings corrects; agreement between draws is unweighted, and told."""
    first = rate(run, "ann", seed=0, number=40)
    second = rate(run, "ben", seed=1, number=20, change=lambda f: f["draw"].update(size=20))
    assert main(["agree", str(run), str(first), str(second)]) == 0
    printed = capsys.readouterr().out
    assert "ann and ben: of different draws, so unweighted." in printed
    assert "ben rated another draw; the corrected rates are of that of ann" in printed
    assert "Low, of the right ones (1 person):" in printed
    ann, ben = scores_of(first), scores_of(second)
    pair = agreements(run).pairs[0]
    told = stats.pearsonr([ann[n][0] for n in ben], [ben[n][0] for n in ben])[0]
    assert pair.figures["pearson"].value == pytest.approx(told)


def test_two_judges_are_compared_on_the_same_pictures(
    run: Path, tmp_path: Path, capsys: Out
) -> None:
    """What shows another picture or another prediction is left out, with its number."""
    second = make_round(1, probes=80, side=6, score=lambda probe, _: probe * 5 % 11 / 2)
    samples = list(second.samples)
    samples[0] = replace(
        samples[0],
        explanation=replace(samples[0].explanation, mask=1 - samples[0].explanation.mask),
    )
    samples[1] = replace(
        samples[1], explanation=replace(samples[1].explanation, prediction_name="owl")
    )
    other = tmp_path / "other"
    write_run(other, [replace(second, samples=tuple(samples))], judge="another")
    path = rate(run, "ann", seed=0)
    assert main(["agree", str(run), str(other), str(path)]) == 0
    printed = capsys.readouterr().out
    assert "left out: 1 with another prediction, 1 with another picture." in printed
    one, two = judged(run), judged(other)
    shared = [n for n in one if n in two and n not in ("fit-1/0", "fit-1/3")]
    pairs = {(p.first, p.second): p for p in agreements(run).pairs}
    told = pairs["scripted", "another"]
    assert told.number == len(shared)
    x, y = [one[n] for n in shared], [two[n] for n in shared]
    assert told.figures["pearson"].value == pytest.approx(stats.pearsonr(x, y)[0])
    assert ("another", "ann") in pairs
    write_run(tmp_path / "third", [make_round(1, probes=80, side=6, fingerprint="beef")])
    assert main(["agree", str(run), str(tmp_path / "third")]) == 2
    assert "of the same probes, got probes beef" in capsys.readouterr().err


def test_a_round_that_is_not_there_is_refused(run: Path, capsys: Out) -> None:
    """With those that are."""
    assert main(["agree", str(run), "--round", "fit-7"]) == 2
    assert "Pass one of: fit-0, fit-1." in capsys.readouterr().err


def test_the_summary_has_the_corrected_rates(run: Path, capsys: Out) -> None:
    """Of the last judged round, or which one was rated instead."""
    main(["agree", str(run), str(rate(run, "ann", seed=0, key="fit-0"))])
    capsys.readouterr()
    main(["summary", str(run)])
    assert "People rated fit-0, not round fit-1." in capsys.readouterr().out
    main(["agree", str(run), str(rate(run, "ann", seed=0))])
    lines = [line for line in capsys.readouterr().out.splitlines() if "Low, of the" in line]
    main(["summary", str(run)])
    told = capsys.readouterr().out
    for line in lines[-2:]:
        assert line.replace(" (1 person):", ":") in told


def test_what_a_folder_keeps_is_not_trusted(run: Path) -> None:
    """Broken or hostile files are told or left out, in the report as well."""
    main(["agree", str(run), str(rate(run, "ann", seed=0))])
    kept = json.loads((run / FILE).read_text())
    kept["rounds"][0]["pairs"][0]["first"] = "<img src=x onerror=alert(1)>"
    kept["rounds"][0]["pairs"].append({"figures": {"kappa": {"value": "much", "interval": [1]}}})
    (run / FILE).write_text(json.dumps(kept))
    (run / "ratings" / "broken.json").write_text('{"format": "vlmxai-')
    (run / "ratings" / "out.json").symlink_to(run.parent)
    page = write_report(run).read_text()
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    for name in ("broken", "out"):
        assert f"ratings/{name}.json was left out: " in page
    for text in ('{"rounds": 3}', "[]", "\xff"):
        (run / FILE).write_text(text)
        assert load_agreements(read_run(run)) == []
