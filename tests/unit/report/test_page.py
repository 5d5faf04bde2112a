"""The page of one run, as a file."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_vlmxai.report import (
    compare,
    html,
    label_page,
    page,
    pictures,
    write_comparison,
    write_report,
)
from lightning_vlmxai.report.page import make_report
from lightning_vlmxai.report.pictures import Wanted, load_pictures
from lightning_vlmxai.report.reader import read_run
from run_folders import HOSTILE_NAME, PROBES, ROUNDS, count, make_round, unpack, write_run


def test_a_page_holds_every_sample_and_figure(tmp_path: Path) -> None:
    """Counts in the page are those of the samples, counted one by one."""
    rounds = write_run(tmp_path)
    out = write_report(tmp_path)
    assert out == tmp_path / "report.html"
    data = unpack(out.read_text())
    assert len(data["samples"]["probe"]) == PROBES * ROUNDS
    for of, closed in zip(data["rounds"], rounds, strict=True):
        assert of["counts"] == list(count(closed).values())
        assert (of["key"], of["step"]) == (f"fit-{closed.number}", closed.step)


def test_a_page_is_one_file_with_a_strict_policy(tmp_path: Path) -> None:
    """Nothing is loaded, and no script but the page's own runs."""
    write_run(tmp_path)
    text = write_report(tmp_path).read_text()
    (policy,) = re.findall(r'Policy" content="([^"]*)"', text)
    assert "default-src &#39;none&#39;" in policy
    assert "unsafe" not in policy
    assert "connect-src" not in policy
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text)
    assert text.count("<script") == 3


@pytest.mark.parametrize("scripts", [page.SCRIPTS, compare.SCRIPTS, label_page.SCRIPTS])
def test_no_two_scripts_of_a_page_give_one_name_twice(scripts: tuple[str, ...]) -> None:
    """They run as one: the later function would be called in the place of the earlier one."""
    texts = [(Path(page.__file__).parent / "assets" / name).read_text() for name in scripts]
    text = "\n".join([*texts, (Path(page.__file__).parent / "assets" / "watch.js").read_text()])
    names = re.findall(r"^(?:async )?(?:function\*?|const|let|class) (\w+)", text, re.MULTILINE)
    assert len(names) > len(scripts)
    assert [name for name in set(names) if names.count(name) > 1] == []


def test_hostile_text_ends_no_element(tmp_path: Path) -> None:
    """Names from data sets and words of judges never stand in the page as markup."""
    write_run(tmp_path, model=HOSTILE_NAME, **{"<b>": "<img src=x>"})
    text = write_report(tmp_path).read_text()
    assert HOSTILE_NAME not in text
    assert "<img src=x" not in text
    assert "&lt;b&gt;" in text
    assert HOSTILE_NAME in unpack(text)["texts"]


@pytest.mark.parametrize("doubts", [["maps show <b>nothing</b>", 7], "a word", None])
def test_what_the_run_doubted_stands_on_top(tmp_path: Path, doubts: object) -> None:
    """As words, before any view; what is no list of words is passed over."""
    write_run(tmp_path, doubts=doubts)
    head = write_report(tmp_path).read_text().partition("<main>")[0]
    told = isinstance(doubts, list)
    assert head.count("Told while it ran: ") == int(told)
    assert ("Told while it ran: maps show &lt;b&gt;nothing&lt;/b&gt;" in head) == told


def test_no_picture_source_ends_its_element() -> None:
    """Whatever a folder is called."""
    text = html.render_page(
        "base.html", scripts=(), data={}, pictures=["</script><script>alert(1)</script>"]
    )
    assert "alert(1)" in text
    assert text.count("</script>") == 3


def test_control_characters_are_shown_not_sent(tmp_path: Path) -> None:
    """Escape codes and direction marks become signs."""
    write_run(tmp_path)
    words = "".join(unpack(write_report(tmp_path).read_text())["texts"])
    assert "\x1b" not in words
    assert "\u202e" not in words
    assert "␛[31mred ⟨U+202E⟩evil" in words


def test_a_whole_picture_is_embedded_once(tmp_path: Path) -> None:
    """Twelve whole pictures, and a masked one and a map for each sample."""
    write_run(tmp_path)
    text = write_report(tmp_path).read_text()
    data = unpack(text)
    assert len(set(data["samples"]["picture"])) == PROBES
    (embedded,) = re.findall(r'id="pictures">([^<]*)<', text)
    assert len(json.loads(embedded)) == PROBES + 2 * PROBES * ROUNDS


def test_missing_and_broken_pictures_are_counted(tmp_path: Path) -> None:
    """A missing file, an empty one and one that is no picture."""
    write_run(tmp_path, [make_round(0)])
    folder = tmp_path / "images" / "fit-0000"
    (folder / "000000.png").unlink()
    (folder / "000003.png").write_bytes(b"")
    (folder / "000006.png").write_bytes(b"<svg onload=alert(1)>")
    assert "3 pictures are missing or can&#39;t be read." in write_report(tmp_path).read_text()


def test_no_file_outside_the_run_folder_is_read(tmp_path: Path) -> None:
    """Paths in sample lines are not trusted."""
    write_run(tmp_path / "run", [make_round(0)])
    secret = tmp_path / "secret.png"
    Image.new("RGB", (4, 4)).save(secret)
    for path in ("../secret.png", str(secret), "images/../../secret.png", "run.json", "\x00.png"):
        loaded = load_pictures(tmp_path / "run", ".", [Wanted(path, 100)])
        assert (loaded.sources, loaded.missing) == ({}, 1)
    # Nor are links, of a file, of a folder, or of what the run wrote; one to the run itself is.
    (tmp_path / "run" / "link.png").symlink_to(secret)
    (tmp_path / "run" / "out").symlink_to(tmp_path)
    for path in ("link.png", "out/secret.png"):
        loaded = load_pictures(tmp_path / "run", ".", [Wanted(path, 100)])
        assert (loaded.sources, loaded.missing) == ({}, 1)
    (tmp_path / "named").symlink_to(tmp_path / "run")
    assert read_run(tmp_path / "named").settings == read_run(tmp_path / "run").settings != {}
    (tmp_path / "run" / "run.json").rename(tmp_path / "run.json")
    (tmp_path / "run" / "run.json").symlink_to(tmp_path / "run.json")
    assert read_run(tmp_path / "run").settings == {}


def test_pictures_past_the_budget_are_referred_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page holds the whole ones and the newest; it says that it needs the folder."""
    monkeypatch.setattr(pictures, "MAX_PICTURES", PROBES + 2)
    write_run(tmp_path / "a run")
    text = write_report(tmp_path / "a run", tmp_path / "out" / "page.html").read_text()
    (embedded,) = re.findall(r'id="pictures">([^<]*)<', text)
    sources = json.loads(embedded)
    assert all(s.startswith("data:") for s in sources[: PROBES + 2])
    assert sources[PROBES + 2].startswith("../a%20run/images/fit-0004/")
    assert "118 pictures are not in this file" in text


def test_a_picture_is_embedded_small_and_alike(tmp_path: Path) -> None:
    """A large one is scaled down and looks the same; a tiny one stays as it is."""
    ramp = np.linspace(0, 255, 600, dtype=np.uint8)[None, :, None].repeat(400, 0).repeat(3, 2)
    Image.fromarray(ramp).save(tmp_path / "large.png")
    Image.fromarray(ramp[:8, :8]).save(tmp_path / "tiny.png")
    wanted = [Wanted("large.png", 150), Wanted("tiny.png", 150)]
    sources = load_pictures(tmp_path, ".", wanted).sources
    kind, packed = sources["large.png"].split(",")
    assert kind == "data:image/webp;base64"
    (tmp_path / "small.webp").write_bytes(base64.b64decode(packed))
    with Image.open(tmp_path / "small.webp") as small:
        assert small.size == (150, 100)
        middle = np.asarray(small)[50, :, 0].astype(float)
    assert np.abs(middle - np.linspace(0, 255, 150)).max() < 12
    assert (
        base64.b64decode(sources["tiny.png"].split(",")[1]) == (tmp_path / "tiny.png").read_bytes()
    )


def test_a_second_build_codes_no_picture_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only those of the new round."""
    write_run(tmp_path, [make_round(0)])
    cache: pictures.PictureCache = {}
    first = make_report(tmp_path, ".", cache=cache)
    coded: list[Path] = []
    encode = pictures._encode
    monkeypatch.setattr(pictures, "_encode", lambda f, s: coded.append(f) or encode(f, s))
    assert make_report(tmp_path, ".", cache=cache) == first
    assert coded == []
    write_run(tmp_path, [make_round(1)])
    make_report(tmp_path, ".", cache=cache)
    # The second sink writes the whole pictures again: they may be another run's.
    assert len(coded) == 3 * PROBES


def test_a_page_replaces_the_old_one_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that fails leaves the old page, and no part of a new one."""
    write_run(tmp_path / "run", [make_round(0)])
    out = tmp_path / "page.html"
    write_report(tmp_path / "run", out)
    before = out.read_bytes()

    def fail(self: Path, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(tmp_path / "run", out)
    assert out.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["page.html", "run"]


def test_every_folder_has_a_page(tmp_path: Path) -> None:
    """An empty one, and one whose settings are no object."""
    (tmp_path / "empty").mkdir()
    text = write_report(tmp_path / "empty").read_text()
    assert "No round has been written yet." in text
    assert "run.json is missing" in text
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "run.json").write_text("[1]")
    assert "run.json can&#39;t be read" in write_report(tmp_path / "odd").read_text()
    assert "A has no round" in write_comparison([tmp_path / "empty", tmp_path / "odd"]).read_text()


def test_the_head_says_how_the_run_was_made(tmp_path: Path) -> None:
    """As far as its settings tell."""
    write_run(tmp_path, [make_round(0)], prompt_version="7")
    text = write_report(tmp_path).read_text()
    for name, value in (("Judge", "scripted"), ("Alpha", "15"), ("Prompt", "7")):
        assert f"<dt>{name}</dt><dd><bdi>{value}</bdi></dd>" in text
    assert "<dt>Task</dt>" not in text
    assert len(page.FACTS) > 5
    assert html.show_value({"a": 1}) == '{"a": 1}'
