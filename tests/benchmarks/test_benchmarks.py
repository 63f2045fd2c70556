"""Each benchmark runs from end to end at toy sizes and writes what it promises; times are never asserted."""

import json
import os
import platform
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import launch
import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A script finds its neighbours as it does when started by hand; nothing of it stays behind."""
    monkeypatch.syspath_prepend(str(FOLDER))
    before, threads = set(sys.modules), torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(FOLDER)):
            del sys.modules[name]


def alone(script: str, program: str, *options: str) -> int:
    """`common.memory_alone` in a process that need not import everything anew."""
    done = launch.run(script, "--memory_of", program, *options)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


def test_a_published_command_says_nothing_of_where_things_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    import common

    words = ["--datalist", "/home/me/list.json", "--config_file", "a.yaml", "--images", "mine/*.png", "--out", "here"]
    monkeypatch.setattr(sys, "argv", ["x.py", *words, "--threads", "1"])
    expected = "--datalist <yours> --config_file a.yaml --images <yours> --threads 1"
    assert common.command("x") == f"python benchmarks/x.py {expected}"


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run a script with --quick and the given options, and return the JSON it wrote."""

    def run(name: str, *options: str) -> dict[str, Any]:
        import common

        monkeypatch.setattr(common, "memory_alone", alone)
        out = ["--out", str(tmp_path)]
        # One thread: toy sizes gain nothing from two, and other work on the machine slows two much more.
        monkeypatch.setattr(sys, "argv", [name, "--quick", "--repeats", "2", "--threads", "1", *out, *options])
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        assert [path.name for path in tmp_path.iterdir()] == [f"{name}_cpu_quick.json"]
        text = (tmp_path / f"{name}_cpu_quick.json").read_text()
        assert f'"{platform.node()}"' not in text, "results are published; they do not name the computer"
        content = json.loads(text)
        assert content["command"].startswith(f"python benchmarks/{name}.py --quick")
        assert str(tmp_path) not in text
        assert set(content) == {"benchmark", "command", "machine", "options", "notes", "rows"}
        assert content["benchmark"] == name
        assert content["machine"]["torch"] == torch.__version__
        return content

    return run


def test_pretrain_step(result: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = result("pretrain_step", "--settings", "3d_0.125")["rows"]
    assert row["setting"] == "3d_0.125"
    assert set(row["step_seconds"]) == set(row["peak_memory_bytes"]) == {"ours", "monai"}
    assert set(row["time_ratio"]["ours"]) == {"median", "low", "high", "fastest"}
    assert all(size > 0 for size in row["peak_memory_bytes"].values())
    assert row["step_flops"] > 0
    assert row["product_share"] > 0
    assert row["loss_difference"] < 1e-5, "both programs must compute the same loss"
    assert "share of matmul" in capsys.readouterr().out


@pytest.mark.slow
def test_pretrain_step_with_fewer_predicted_patches_in_bfloat16(result: Callable[..., dict[str, Any]]) -> None:
    (row,) = result("pretrain_step", "--settings", "2d_0.75", "--predict_ratio", "0.5", "--dtype", "bf16")["rows"]
    assert set(row["step_seconds"]) == {"ours", "monai", "ours_predict"}
    assert set(row["time_ratio"]) == {"ours", "ours_predict"}


@pytest.mark.slow
def test_finetune_step(result: Callable[..., dict[str, Any]]) -> None:
    rows = result("finetune_step", "--peer_dtype", "fp32", "--dtype", "bf16")["rows"]
    assert [row["setting"] for row in rows] == ["unetr_96", "vit_224"]
    assert all(set(row["step_seconds"]) == {"ours", "monai"} for row in rows)
    assert all(size > 0 for row in rows for size in row["peak_memory_bytes"].values())


@pytest.mark.slow
def test_inference(result: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    rows = result("inference")["rows"]
    assert [row["part"] for row in rows] == ["read", "windows", "back", "whole"]
    assert set(rows[-1]["seconds"]) == set(rows[-1]["peak_memory_bytes"]) == {"ours", "stock"}
    # The rim, where air was cropped away, is a large part of a toy; bf16 decides some labels of random weights.
    assert rows[-1]["equal_labels"] > 0.9
    assert "equal labels" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--step_crops_per_second", "7.5"]])
def test_loader(options: list[str], result: Callable[..., dict[str, Any]]) -> None:
    (row,) = result("loader", *options)["rows"]
    assert set(row["crops_per_pass"].values()) == {8}  # two volumes, four crops each: nobody skips work
    assert len(row["crops_per_second"]) == len(row["fill_seconds"]) == 4
    assert set(row["time_ratio"]) == {"ours, RAM", "ours, folder"}
    assert row["step_crops_per_second"] > 0
    assert not options or row["step_crops_per_second"] == 7.5


def test_calls_are_timed_in_turns() -> None:
    import common

    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    times = common.interleave(calls, 3, torch.device("cpu"))
    assert "".join(order) == "ab" + "abbaab"
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}


def test_ratio_is_of_neighbouring_calls() -> None:
    import common

    # The machine is three times as slow in the last round; each round still says "twice as long".
    assert common.ratio([2.0, 4.0, 12.0], [1.0, 2.0, 6.0]) == {"median": 2, "low": 2, "high": 2, "fastest": 2}


def test_a_failing_program_says_why(tmp_path: Path) -> None:
    import common

    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit('out of memory')")
    with pytest.raises(RuntimeError, match="out of memory"):
        common.memory_alone(str(script), "ours")


@pytest.mark.slow
def test_memory(result: Callable[..., dict[str, Any]]) -> None:
    rows = result("memory")["rows"]
    assert [(row["dtype"], row["checkpointing"]) for row in rows] == [
        ("fp32", False), ("fp32", True), ("bf16", False), ("bf16", True),
    ]  # fmt: skip
    plain, checkpointed, half, _ = (row["kept_bytes"] for row in rows)
    assert checkpointed < plain
    assert half < plain
    assert all(row["peak_bytes"] > 0 for row in rows)


@pytest.mark.slow
def test_images(result: Callable[..., dict[str, Any]]) -> None:
    rows = result("images", "--num_workers", "0", "--workers", "0", "--memory_images", "20", "60")["rows"]
    assert [row["measurement"] for row in rows] == ["build", "read", "memory", "memory", "train"]
    assert all(rate > 0 for rate in rows[1]["crops_per_second"].values())
    small, large = rows[2:4]
    assert large["bytes"] - small["bytes"] < 1 << 20, "a cache's own memory does not grow with its images"
    assert 0 <= rows[4]["share_of_waiting"] < 1


@pytest.mark.slow  # each pass of the peer opens the slide anew for every tile
def test_slides(result: Callable[..., dict[str, Any]]) -> None:
    rows = result("slides")["rows"]
    assert [row["work"] for row in rows] == ["read", "network"]
    assert rows[0]["relative_difference"] == 0, "both must read the same pixels"
    assert rows[1]["relative_difference"] < 1e-5
    assert all(rate > 0 for row in rows for rate in row["tiles_per_second"].values())


@pytest.mark.slow
def test_the_way_back_alone(result: Callable[..., dict[str, Any]]) -> None:
    (row,) = result("inference", "--parts", "back")["rows"]
    assert row["part"] == "back"
    assert row["equal_labels"] > 0.95
    assert all(size > 0 for size in row["bytes_a_voxel_of_the_file"].values())


def test_memory_without_times(result: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = result("inference", "--parts", "back", "--only_memory", "ours")["rows"]
    assert row.keys() == {"part", "peak_memory_bytes", "bytes_a_voxel_of_the_file"}
    assert row["bytes_a_voxel_of_the_file"]["ours"] > 1  # the labels themselves
    assert "| ours | " in capsys.readouterr().out


@pytest.mark.slow
def test_forms(result: Callable[..., dict[str, Any]]) -> None:
    rows = result("forms", "--forms", "channels_last", "bf16")["rows"]
    assert [row["form"] for row in rows] == ["channels_last", "bf16"] * 2
    exact, rounded = rows[0]["relative_difference"], rows[1]["relative_difference"]
    assert exact < 1e-5 < rounded < 0.1


@pytest.mark.slow
def test_bundles(result: Callable[..., dict[str, Any]]) -> None:
    rows = result("bundles")["rows"]
    assert {row["bundle"] for row in rows} == {
        path.name for path in (FOLDER.parent / "bundles").iterdir() if path.is_dir()
    }
    assert all(row["images_per_second"] > 0 for row in rows)


@pytest.mark.slow  # commands of two bundles, three processes each
def test_first_start(result: Callable[..., dict[str, Any]]) -> None:
    rows = result("first_start", "--workers", "0")["rows"]
    assert [row["bundle"] for row in rows] == ["cxr14_mae", "btcv_unetr_mae"]
    assert all(row["seconds_alone"] > 0 for row in rows)


def gpu(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The script as it is called, without a GPU."""
    words = [str(FOLDER / "gpu.sh"), "--device", "cpu", "--quick", "--workers", "1", "--out", str(out), *options]
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
def test_pieces_of_the_gpu_script_end_go_on_and_are_not_done_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gpu as script

    monkeypatch.setattr(script, "GRACE", 0.2)
    note = f"open({str(tmp_path / 'calls')!r}, 'a').write('x'); print('| a table |')"
    short, bad, endless = (
        [sys.executable, "-c", text] for text in (note, "import sys; sys.exit(3)", "while True: pass")
    )
    end = time.monotonic() + 60
    for _ in range(2):
        assert script.carry_out(script.Piece("short", [short]), end, tmp_path) is True
    assert (tmp_path / "calls").read_text() == "x"
    assert script.report(script.Piece("short", []), tmp_path) == "| a table |"
    assert script.carry_out(script.Piece("bad", [bad, short]), end, tmp_path) is False
    assert script.carry_out(script.Piece("long", [endless]), time.monotonic() + 5.5, tmp_path) is None
    assert script.carry_out(script.Piece("late", [short]), time.monotonic() + 1, tmp_path) is None
    with pytest.raises(SystemExit):
        script.main(["--device", "cpu", "--out", str(tmp_path), "--pieces", "everything"])


@pytest.mark.slow  # everything, at toy sizes
def test_gpu_script(tmp_path: Path) -> None:
    done = gpu(tmp_path, "--minutes", "20")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout
    assert "not finished" not in done.stdout
    rows = json.loads((tmp_path / "pretrain_step_bf16_cpu_quick.json").read_text())["rows"]
    assert all(row["time_ratio"]["ours"]["median"] > 0 for row in rows)
    assert '"mae"' in done.stdout
    assert '"scratch"' in done.stdout


def test_exported(result: Callable[..., dict[str, Any]]) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX is tried where onnx, onnxscript and onnxruntime are installed")
    rows = result("exported", "--batches", "1", "2")["rows"]
    assert {row["program"] for row in rows} == {"PyTorch", "TorchScript", "onnxruntime"}
    assert max(row["difference"] for row in rows) < 1e-4
