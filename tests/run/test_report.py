"""The report: honest figures, safe against what a stranger's run folder may hold, the same bytes for the same input."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_runs import HOSTILE, attacked, complete, config, empty, evaluation, put

from stalwart.core.errors import InputError, RunError
from stalwart.run.report import report

VOID = {"meta", "img", "br", "hr", "col", "input", "link"}


class Reader(HTMLParser):
    """Checks that tags are balanced, and gathers elements, attributes and visible text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} has an attribute twice"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).replace("\u00a0", " ").split())


def read(path: Path) -> Reader:
    return Reader(path.read_text(encoding="utf-8"))


def test_complete_run_has_every_section_with_the_figures_of_its_files(tmp_path: Path) -> None:
    run = complete(tmp_path / "plain")
    page = read(report(run))
    assert (run / "report.html").is_file()
    heads = ("Training", "Classes", "Calibration", "Accuracy under attack", "Strongest examples", "Cost", "How it was")
    for head in heads:
        assert head in page.text
    scored = json.loads((run / "results/evaluate-test.json").read_text())
    low, high = scored["intervals"]["top1"]
    figures = scored["figures"]
    assert f"right on {100 * figures['top1']:.1f} % of 360 test images" in page.text
    assert f"{100 * low:.1f} to {100 * high:.1f} %" in page.text
    assert f"ECE {figures['ece']:.4f}" in page.text
    assert f"{figures['nll']:.3g} nats" in page.text
    for row in figures["per_class"]:
        assert f"{row['name']} {row['n']} {100 * row['accuracy']:.1f} %" in page.text.replace(" ▼", "")
    for place in range(3):
        result = json.loads((run / f"results/attack-{place}.json").read_text())
        low, high = result["interval"]
        assert f"{100 * low:.1f} to {100 * high:.1f} %" in page.text
        assert f"{result['forwards']:,} ({result['forwards'] / result['n']:.1f})" in page.text
        for point in result["curve"]:
            assert f"{100 * point['robust_accuracy']:.1f} %" in page.text
    assert "leaves it right on 4.0 % of 300 test images (95 % interval 2.3 to 6.9 %), against 96.0 %" in page.text
    assert "upper bound" in page.text
    assert "seed 3" in page.text
    assert "the loss was <high> once" in page.text
    assert "flat <slope>" in page.text
    assert "2 files of the test split could not be read" in page.text
    assert "Python".lower() in page.text
    assert "3.12.4" in page.text


def test_commands_are_those_that_made_the_run(tmp_path: Path) -> None:
    run = complete(tmp_path / "plain")
    shown = read(report(run)).text.replace("\\ ", "")
    assert "stalwart train --data 'digits()' --model 'fastnet(width=16)' --objective 'clean()'" in shown
    assert "--augment 'crop(1)' --augment 'flip()' --epochs 6 --batch 128 --seed 3 --val 0.1" in shown
    assert f"stalwart evaluate {run}" in shown
    assert f"stalwart attack {run} --attack 'pgd(steps=20)' --threat 'l2(0.5)' --limit 300" in shown
    assert "--objective 'adversarial(attack=pgd(steps=7), threat=linf(8/255))'" in shown, "the advice for a weak model"


def test_empty_run_says_which_commands_make_the_rest(tmp_path: Path) -> None:
    run = empty(tmp_path / "new run")
    text = read(report(run)).text
    assert f"stalwart evaluate '{run}'" in text
    assert f"stalwart attack '{run}'" in text
    assert "Nothing has been measured yet" in text
    for absent in ("Classes", "Strongest examples", "Cost", "%"):
        assert absent not in text


def test_trained_but_not_attacked(tmp_path: Path) -> None:
    run = complete(tmp_path / "a", attacks=[])
    text = read(report(run)).text
    assert "Right on 96.7 % of untouched images. It has not been attacked yet." in text
    assert "Accuracy under attack" not in text
    assert "unknown until it is attacked" in text


def test_two_runs_side_by_side(tmp_path: Path) -> None:
    plain = complete(tmp_path / "plain")
    hard = complete(tmp_path / "hardened", objective="adversarial(threat=linf(8/255))", strength=0.4)
    target = tmp_path / "report.html"
    assert report([plain, hard], out=target) == target
    assert not (plain / "report.html").exists()
    page = read(target)
    assert "Within linf(8/255), hardened stays right on 44.0 % of attacked images, plain on 4.0 %." in page.text
    assert "44.0 % ▲" in page.text
    assert "hardened stays right on 44.0 % (38.5 to 49.7 %) and plain stays right on 4.0 % (2.3 to 6.9 %)" in page.text
    # Newcombe's interval, worked by hand: 0.40 ∓ √((0.44 − 0.38490)² + (0.06862 − 0.04)²), ± √(0.0565² + 0.0170²)
    assert "The difference is 40.0 points (95 % interval 33.8 to 45.9)." in page.text
    assert "There is no difference" in page.text, "the clean accuracies are the same"
    curves = [place for place, (name, _) in enumerate(page.elements) if name == "polyline"]
    assert len(curves) >= 4
    links = [attributes["href"] for name, attributes in page.elements if name == "a"]
    targets = {f"#{attributes['id']}" for _, attributes in page.elements if attributes.get("id")}
    assert links
    assert set(links) <= targets


def test_lead_within_chance_is_not_called_a_lead(tmp_path: Path) -> None:
    a = complete(tmp_path / "a", attacks=[attacked("0123456789", ends=0.30)])
    b = complete(tmp_path / "b", attacks=[attacked("0123456789", ends=0.33)])
    text = read(report([a, b])).text
    assert "so it may be chance" in text
    assert "33.0 % ▲" not in text


def test_nothing_reaches_for_the_network_and_nothing_runs(tmp_path: Path) -> None:
    runs = [complete(tmp_path / "a"), complete(tmp_path / "b", names=HOSTILE, size=32, channels=3)]
    path = report(runs, out=tmp_path / "both.html")
    page, source = read(path), path.read_text(encoding="utf-8")
    for name, attributes in page.elements:
        assert name not in {"script", "link", "iframe", "object", "embed", "form", "base"}
        for key, value in attributes.items():
            assert not key.startswith("on"), f"{name} has {key}"
            assert key != "style", "the policy forbids it, so it would do nothing"
            if key in ("src", "href", "srcset", "xlink:href"):
                assert value is not None
                assert value.startswith(("data:image/png;base64,", "#"))
    assert "url(" not in source
    assert "@import" not in source
    assert not re.search(r"https?://", source)
    policy = next(a["content"] for n, a in page.elements if n == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_policy_allows_the_very_style_that_the_page_holds(tmp_path: Path) -> None:
    import base64
    import hashlib

    source = report(empty(tmp_path / "a")).read_text(encoding="utf-8")
    style = source.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in source


def test_hostile_names_are_shown_as_text(tmp_path: Path) -> None:
    run = complete(tmp_path / "<b>run", names=HOSTILE, size=32, channels=3)
    events = (run / "events.jsonl").read_text()
    put(run / "events.jsonl", {"kind": "warning", "message": "</dd><script>alert(2)</script>"})
    (run / "events.jsonl").write_text(events.rpartition("\n")[0] + "\n" + (run / "events.jsonl").read_text())
    path = report(run)
    page, source = read(path), path.read_text(encoding="utf-8")
    assert "<script" not in source
    assert "onerror=alert(1)>" not in re.sub(r"&[a-z#0-9]+;", "", source.replace("&gt;", ""))
    assert "<script>alert(1)</script>" in page.text, "it is there, as text"
    assert "</dd><script>alert(2)</script>" in page.text
    assert "\u202e" not in source, "no mark may turn the reading direction"
    assert "\x00" not in source


@pytest.mark.parametrize("size", [8, 224])
def test_size_stays_sane(tmp_path: Path, size: int) -> None:
    names = [f"species {i}" for i in range(200)]
    path = report(complete(tmp_path / "large", names=names, size=size, channels=3))
    assert path.stat().st_size < 3_000_000
    assert "Most frequent confusions" in read(path).text
    assert "heat" not in {a.get("class") for _, a in read(path).elements}, "200 classes are too many for a heat map"


def test_many_runs_share_the_room_for_pictures(tmp_path: Path) -> None:
    runs = [complete(tmp_path / f"run{i}", size=224, channels=3) for i in range(4)]
    assert report(runs, out=tmp_path / "all.html").stat().st_size < 3_000_000


def test_same_input_same_bytes_in_another_process(tmp_path: Path) -> None:
    run = complete(tmp_path / "a")
    first = report(run).read_bytes()
    program = f"from stalwart.run.report import report; report({str(run)!r})"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    assert (run / "report.html").read_bytes() == first
    assert not [item for item in run.iterdir() if item.name.endswith(".part")]


def test_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere") as caught:
        report(tmp_path / "nowhere")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_what_cannot_be_reported_is_refused(tmp_path: Path) -> None:
    run = empty(tmp_path / "a")
    with pytest.raises(RunError, match="at least one"):
        report([])
    with pytest.raises(RunError, match="more than once"):
        report([run, tmp_path / "." / "a"])
    with pytest.raises(RunError, match="Got a folder"):
        report(run, out=tmp_path)
    (run / "config.json").write_text("{")
    with pytest.raises(RunError, match=r"config\.json"):
        report(run)
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match=r"config\.json"):
        report(tmp_path / "b")


def test_damaged_parts_are_named_and_left_out(tmp_path: Path) -> None:
    run = complete(tmp_path / "a")
    (run / "results/attack-0.safetensors").write_bytes(b"\xff" * 40)
    (run / "results/attack-1.json").write_text("[" * 100_000)
    (run / "results/evaluate-test.json").write_text('{"kind": "evaluate", "n": 10}')
    (run / "best/card.json").write_bytes(b"\xff\xfe")
    text = read(report(run)).text
    for name in ("attack-0.safetensors", "attack-1.json", "evaluate-test.json", "best/card.json"):
        assert name in text
    assert "Strongest examples" in text, "the other attack's pictures are whole"


def ascii_short(value: object) -> str:
    return ascii(value)[:8]


@pytest.mark.parametrize("value", ["12", None, [], math.nan, -3, 10**400, "\ud800"], ids=ascii_short)
def test_values_of_any_kind_do_no_harm(tmp_path: Path, value: object) -> None:
    run = complete(tmp_path / "a", names=("x", "y"), attacks=[attacked(("x", "y"), shown=1)])

    def damage(file: Path, fine: dict[str, Any], *keys: str) -> None:
        for key in keys:
            put(file, {**fine, key: value})
            report(run)
        put(file, fine)

    for file in [*run.glob("results/*.json"), run / "best/card.json"]:
        fine = json.loads(file.read_text())
        damage(file, fine, *(key for key in fine if key != "kind"))
        for key in fine.get("figures", {}):
            damage(file, {**fine, "figures": {**fine["figures"], key: value}}, "seconds")
        for part in ("curve", "examples", "per_class"):
            put(file, {**fine, part: [value, {}, {"n": value, "epsilon": value, "clean": value, "size": value}]})
            report(run)
        put(file, fine)
    for key in ("epoch", "train_loss", "lr", "seconds", "val_top1"):
        put(run / "events.jsonl", {"kind": "epoch", "epoch": 1, "train_loss": 1.0, "seconds": 2.0, key: value})
        report(run)
    if isinstance(value, float) and math.isnan(value):
        return  # JSON has no NaN: a configuration with one is refused
    damage(run / "config.json", config(), "spelling", "settings", "environment", "started", "stalwart")
    put(run / "config.json", {**config(), "settings": {"seed": value, "epochs": value}, "spelling": {"data": value}})
    read(report([run, complete(tmp_path / "b")]))


def test_interval_that_a_file_lacks_is_wilsons(tmp_path: Path) -> None:
    scored = evaluation("0123456789")
    del scored["intervals"]
    run = complete(tmp_path / "a", attacks=[])
    put(run / "results/evaluate-test.json", scored)
    # 348 of 360: centre (0.96667 + 0.00534) / 1.01067, the textbook formula by hand
    assert "95 % interval 94.3 to 98.1 %" in read(report(run)).text


def test_gradient_masking_is_noticed(tmp_path: Path) -> None:
    names = "0123456789"
    attacks = [attacked(names, attack="fgsm()", ends=0.2), attacked(names, attack="pgd()", ends=0.6)]
    text = read(report(complete(tmp_path / "a", attacks=attacks))).text
    assert "gradient masking" in text
    fair = [attacked(names, attack="fgsm()", ends=0.6), attacked(names, attack="pgd()", ends=0.2)]
    assert "gradient masking" not in read(report(complete(tmp_path / "b", attacks=fair))).text


def test_class_is_called_weak_only_where_chance_does_not_explain_it(tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(10)]

    def scored(misses: int) -> str:
        rows = [{"name": name, "n": 36, "accuracy": 1.0} for name in names]
        rows[4]["accuracy"] = 1 - misses / 36
        result = evaluation(names)
        result["figures"] |= {"per_class": rows, "confusion": [], "top1": 1 - misses / 360}
        run = complete(tmp_path / str(misses), names=names, attacks=[])
        put(run / "results/evaluate-test.json", result)
        return read(report(run)).text

    one, six = scored(1), scored(6)
    assert "▼" not in one, "one mistake in all falls to some class"
    assert "No class is weaker than the others by more than chance explains" in one
    assert "c4 ▼ 36 83.3 %" in six
    assert "It is weakest on “c4”, at 83.3 %." in six


def test_short_spellings_are_written_out_once(tmp_path: Path) -> None:
    attacks = [attacked("01", attack="pgd()"), attacked("01", attack="pgd()", threat="l2(0.5)", epsilon=0.5)]
    run = complete(tmp_path / "a", names="01", objective="adversarial(threat=linf(0.2))", attacks=attacks)
    text = read(report(run)).text
    assert text.count("pgd() pgd(steps=20, step=None, restarts=1, random_start=True)") == 1
    assert "adversarial(attack=pgd(steps=7, step=None, restarts=1, random_start=True), threat=linf(epsilon=0.2)" in text
    unknown = complete(tmp_path / "b", names="01", attacks=[attacked("01", attack="mine(hours=3)")])
    assert "mine(hours=3) mine(" not in read(report(unknown)).text


def test_run_keeps_its_colour_and_curves_of_one_chart_have_different_names(tmp_path: Path) -> None:
    near = attacked("01", threat="linf(4/255)", epsilon=4 / 255, ends=0.5)
    first = complete(tmp_path / "first", names="01", attacks=[near])
    both = complete(tmp_path / "both", names="01", attacks=[near, attacked("01")])
    path = report([first, both], out=tmp_path / "r.html")
    page = read(path)
    kinds = [str(a["class"]) for name, a in page.elements if name == "polyline"]
    assert [kind.split()[1] for kind in kinds[:3]] == ["tone0", "tone1", "tone1"]
    for label in ("first, linf(4/255)", "both, linf(4/255)", "both, linf(8/255)"):
        assert f"{label}:" in path.read_text(encoding="utf-8")


def test_few_images_are_said_to_be_few(tmp_path: Path) -> None:
    run = complete(tmp_path / "a", attacks=[attacked("0123456789", n=50)])
    text = read(report(run)).text
    assert "Only 50 images were attacked" in text
    assert "--limit 1000" in text.replace("\\ ", "")


def test_pictures_are_the_bytes_of_the_file(tmp_path: Path) -> None:
    import base64
    import io

    import numpy as np
    from PIL import Image
    from safetensors.numpy import load_file

    run = complete(tmp_path / "a", attacks=[attacked("0123456789")])
    stored = load_file(run / "results/attack-0.safetensors")
    sources = [str(a["src"]) for n, a in read(report(run)).elements if n == "img"]
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(s.partition(",")[2])))) for s in sources]
    assert len(shown) == 18
    # Example 3 of the first four has the surest wrong answer among those of the smallest change.
    clean, change, adversarial = shown[:3]
    assert np.array_equal(clean, stored["clean"][3, 0])
    assert np.array_equal(adversarial, stored["adversarial"][3, 0])
    times = 15  # 127 // 8 levels
    expected = (adversarial.astype(int) - clean) * times + 128
    assert np.array_equal(change, expected.clip(0, 255))
    assert "15× as large" in read(run / "report.html").text
