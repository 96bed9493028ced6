"""Markdown tables and the points of the roofline from small documents."""

import json
from pathlib import Path

import pytest

from bench import generate, report, roofline, tables, train
from tests.peers.documents import CONFIG, RATES, document, measurement


def training_result() -> report.Result:
    measured = [measurement(name, rates, executed_flops=1000.0) for name, rates in RATES.items()]
    entries = {name: train.with_flops(program, CONFIG) for name, program in report.entries(measured).items()}
    return report.result("small", CONFIG, 1, entries, peak_gflops=4.4e-5)


def generation_result() -> report.Result:
    measured = [measurement(name, rates, read_bytes=2000) for name, rates in RATES.items()]
    entries = {name: generate.with_limit(program, 1e-3) for name, program in report.entries(measured).items()}
    return report.result("small", CONFIG, 1, entries)


def cells(section: str) -> list[dict[str, str]]:
    """Rows of a Markdown table by the titles of its columns."""
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return [dict(zip(lines[0], line, strict=False)) for line in lines[2:]]


def test_training() -> None:
    (row,) = cells(tables.section(document("train", training_result())))
    assert row["training step"] == "`small`"
    assert row["recurlm, tokens/s"] == "220 (200–300)"
    assert row["of peak"] == "50%"  # 22 steps of 1000 operations a second
    assert row["× torch"] == "2.00 (1.10–3.00)"
    assert row["torch, MB"] == "64"


def test_brief() -> None:
    (row,) = cells(tables.section(document("train", training_result()), brief=True))
    of_recurlm = {"recurlm, tokens/s": "220", "of peak": "50%", "recurlm, MB": "64"}
    assert row == {"training step": "`small`", "threads": "1", "× torch": "2.00"} | of_recurlm


def test_geometric_mean() -> None:
    results = [training_result(), training_result()]
    results[1]["programs"]["torch"]["recurlm_speed_up"] = 8.0
    assert cells(tables.section(document("train", *results)))[-1]["× torch"] == "4.00"


def test_memory_without_times() -> None:
    entries = report.entries([measurement(name, [], executed_flops=1000.0) for name in RATES])
    (row,) = cells(tables.section(document("train", report.result("small", CONFIG, 1, entries))))
    assert row == {"training step": "`small`", "threads": "1", "recurlm, MB": "64", "torch, MB": "64"}


def test_generation() -> None:
    program = generation_result()["programs"]["recurlm"]
    assert program["microseconds"] == pytest.approx(1e6 / 220)
    assert program["times_limit"] == pytest.approx(1e6 / 220 / 2000)  # 2000 bytes at 1 MB/s take 2000 µs
    (row,) = cells(tables.section(document("generate", generation_result())))
    assert row["recurlm, µs"] == "4,545.5 (3,333.3–5,000.0)"
    assert row["recurlm, × limit"] == "2.27"
    assert row["× torch"] == "2.00 (1.10–3.00)"


def test_lines_leave_empty_what_is_not_known() -> None:
    result = training_result()
    result["programs"]["torch"]["peak_memory_mb"] = None
    ours, theirs = report.lines(result, train.COLUMNS).splitlines()
    assert "2.00 x" not in ours
    assert "2.00 x" in theirs
    assert "64" in ours
    assert "64" not in theirs
    assert len(ours) == len(theirs) == len(report.heading(train.COLUMNS))


def test_points_of_the_roofline() -> None:
    ours, theirs = roofline.points(document("train", training_result()), threads=1)
    assert (ours.program, theirs.program) == ("recurlm", "torch")
    assert ours.gflops == pytest.approx(22 * 1000 / 1e9)
    assert ours.intensity == pytest.approx(1000 / roofline.training_bytes(CONFIG))
    assert not list(roofline.points(document("train", training_result()), threads=2))
    ours, _ = roofline.points(document("generate", generation_result()), threads=1)
    assert ours.intensity == pytest.approx(2 / 4)  # a float32 weight is multiplied and added
    assert ours.gflops == pytest.approx(220 * 2000 * 2 / 4 / 1e9)
    assert not list(roofline.points(document("processes", training_result()), threads=1))


def test_roofs_are_the_highest_of_all_runs() -> None:
    first, second = document("train"), document("generate")
    second["limits"]["1"] = {"peak_gflops": 90.0, "read_bandwidth": {"8": 30.0, "256": 5.0}}
    expected = {"peak_gflops": 100.0, "read_bandwidth": {"8": 30.0, "256": 10.0}}
    assert roofline.roofs([first, second], threads=1) == expected


def test_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="draws with matplotlib, which is not installed here")
    files = [tmp_path / "train.json", tmp_path / "generate.json"]
    for path, result in zip(files, (training_result(), generation_result()), strict=True):
        path.write_text(json.dumps(document(path.stem, result)))
    roofline.main([*map(str, files), "--out", str(tmp_path / "roofline.png")])
    assert (tmp_path / "roofline.png").read_bytes().startswith(b"\x89PNG")
