"""What the benchmarks share."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from milbench.data.manifest import check_files, read_manifest
from milbench.data.store import load_store

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    for name in (
        "report",
        "large_workspace",
        "sides",
        "folds",
        "gpu",
        "synthetic",
        "padded_reference",
        "data_reference",
        "step",
        "stages",
    ):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_benchmark_replaces_its_own_section_of_the_results_and_no_other(tmp_path: Path) -> None:
    from report import write_section  # type: ignore[import-not-found]

    path = tmp_path / "results.md"
    for name, text in (("a.py", "old"), ("b.py", "other"), ("a.py", "new")):
        write_section(name, text, path)
    path.write_text(path.read_text() + "\nBy hand.\n")
    write_section("b.py", "again", path)
    found = path.read_text()
    assert [found.count(word) for word in ("old", "other", "new", "again", "By hand.")] == [0, 0, 1, 1, 1]
    assert found.index("new") < found.index("again") < found.index("By hand.")


def test_a_repeated_store_is_a_whole_store_with_every_copy_under_ids_of_its_own(tmp_path: Path) -> None:
    from large_workspace import repeat_store  # type: ignore[import-not-found]

    source = small_demo(tmp_path)
    repeat_store(source, tmp_path / "large", 25)
    check_files(tmp_path / "large", read_manifest(tmp_path / "large")["files"], hashes=True)
    once, (bags, tasks) = load_store(source)[0], load_store(tmp_path / "large")
    assert len(bags) == len(set(bags.ids)) == 25 and tasks.names == load_store(source)[1].names
    assert np.array_equal(bags.bag_sizes[20:], once.bag_sizes[:5]) and np.array_equal(bags.raw.y[20:], once.raw.y[:5])
    assert 0 < abs(bags.x2d[20:] - once.x2d[:5]).max() < 0.1


def test_the_references_of_loading_and_sampling_do_what_the_library_does(tmp_path: Path) -> None:
    from data_reference import balanced_batches, load_molecules  # type: ignore[import-not-found]

    from milbench.configs import HPOConfig
    from milbench.data.assemble import load_tables
    from milbench.data.sampler import MultitaskBalancedBatchSampler
    from milbench.testing import make_tables

    tables = make_tables(tmp_path, 60)
    bags = load_tables(tables.labels, tables.feat2d, tables.instances)
    molecules = load_molecules(tables.labels, tables.feat2d, tables.instances)
    assert [one.id for one in molecules] == bags.ids.tolist()
    assert np.array_equal(np.stack([one.x2d for one in molecules]), bags.x2d)
    order = np.lexsort((bags.conf_ids.astype(int), np.repeat(np.arange(len(bags)), bags.bag_sizes)))
    assert np.array_equal(np.concatenate([one.conformers for one in molecules]), bags.xinst[order])
    config, positive = HPOConfig().sampler, (bags.raw.y == 1).any(axis=1)
    ours = [int(positive[batch].sum()) for batch in MultitaskBalancedBatchSampler(bags.raw.y, config, 16)]
    assert [int(positive[batch].sum()) for batch in balanced_batches(bags.raw.y, config, 16, 0)] == ours == [6] * 4


def test_a_counted_product_has_the_operations_that_it_has() -> None:
    from stages import Counted  # type: ignore[import-not-found]

    a, b = torch.ones(2, 3), torch.ones(3, 5)
    with Counted() as counted:
        torch.relu_(torch.addmm(torch.ones(5), a, b))
    assert counted.flop == 2 * 2 * 3 * 5
    assert counted.moved >= 2 * 5 * 4


@pytest.mark.parametrize(("kind", "longest"), [("1-40", 40), ("long-tailed", 160), ("7", 7)])
def test_synthetic_bags_have_the_sizes_that_they_are_named_for(kind: str, longest: int) -> None:
    from synthetic import bag_sizes  # type: ignore[import-not-found]

    sizes = bag_sizes(kind, 200_000, np.random.default_rng(0))
    assert (sizes.min(), sizes.max()) == (7 if kind == "7" else 1, longest)
    assert sizes.mean() == pytest.approx(7 if kind == "7" else 10, rel=0.01)


def small_demo(folder: Path) -> Path:
    """A store of ten of the demo's molecules."""
    from milbench.data.demo import make_demo, write_demo
    from milbench.demo import make_store

    write_demo(make_demo(10, workers=1), folder)
    make_store(folder / "tables", folder / "store")
    return folder / "store"


TINY = ["--device", "cpu", "--molecules", "300", "--hidden", "16", "--batch", "64", "--steps", "1"]


def test_the_gpu_benchmark_runs_its_whole_code_on_the_processor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gpu import main  # type: ignore[import-not-found]

    monkeypatch.setattr(sys, "argv", ["gpu.py", *TINY, "--workers", "0", "--epochs", "1"])
    main()
    told = capsys.readouterr().out
    table = [line.split("|")[1:-1] for line in told.splitlines() if line.startswith(("| padded", "| milbench"))]
    assert [cells[0].strip() for cells in table] == [
        "padded reference, 1 fold, 0 workers",
        "milbench, 1 fold",
        "milbench, 5 folds together",
    ]
    assert all(float(cells[2]) > 0 and int(cells[3].replace(",", "")) > 0 for cells in table)
    assert int(table[2][3].replace(",", "")) < int(table[1][3].replace(",", ""))  # what each fold costs in operators
    assert "≈" in table[2][7] and "Ceilings:" in told


def test_the_gpu_benchmark_says_what_to_do_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gpu import main

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit) as done:
        main()
    assert done.value.code == 2
    assert "--device cpu --molecules 2000" in capsys.readouterr().err


def test_the_benchmark_of_folds_times_both_ways(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from folds import main  # type: ignore[import-not-found]

    monkeypatch.setattr(sys, "argv", ["folds.py", *TINY, "--rounds", "2"])
    main()
    cells = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| 300")).split("|")
    assert float(cells[6].split("**")[1]) > 0


def test_the_work_of_a_step_is_counted() -> None:
    from sides import work_of  # type: ignore[import-not-found]

    a, out = torch.ones(8, 4), torch.empty(8, 3)
    work = work_of(lambda: torch.mm(a, torch.ones(3, 4).T, out=out))
    assert (work.flops, work.operators) == (2 * 8 * 4 * 3, 2)
