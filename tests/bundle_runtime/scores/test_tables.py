"""What all tables of an inference share."""

from pathlib import Path
from typing import Any

import launch
import pytest
from bundle_runtime.files import write_csv
from bundle_runtime.scores.tables import Table
from ignite.engine import Engine
from torch import distributed as dist


class Squares(Table):
    def _take(self, engine: Engine) -> None:
        self.rows[engine.state.batch] = engine.state.output

    def _write(self) -> None:
        write_csv(self.paths[0], ["number", "square"], sorted(self.rows.items()))


def run(folder: str | Path, numbers: list[int]) -> Table:
    table = Squares(Path(folder) / "squares.csv")
    engine: Any = Engine(lambda _, number: number**2)
    table.attach(engine)
    engine.run(numbers)
    return table


def test_a_table_is_written_at_the_end_and_that_of_an_earlier_run_is_removed_at_the_start(tmp_path: Path) -> None:
    run(tmp_path, [3, 1])
    assert (tmp_path / "squares.csv").read_text() == "number,square\n1,1\n3,9\n"
    engine: Any = Engine(lambda _, number: 1 / number)
    Squares(tmp_path / "squares.csv").attach(engine)
    with pytest.raises(ZeroDivisionError):
        engine.run([1, 0])
    assert list(tmp_path.iterdir()) == []


def work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    run(Path(folder) / "out", [4, 2] if rank else [3, 2])  # one comes twice, as samplers fill up
    dist.destroy_process_group()


def test_rows_of_all_processes_are_written_once(tmp_path: Path) -> None:
    launch.together(work, str(tmp_path))
    assert (tmp_path / "out" / "squares.csv").read_text() == "number,square\n2,4\n3,9\n4,16\n"
