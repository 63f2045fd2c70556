import contextlib
import io
from pathlib import Path

import launch
import pytest
import torch
import torch.distributed as dist
from custom_components.distributed import any_rank, first_on_main, gather_objects, is_main, say
from custom_components.masking import shared_rand


def test_one_process() -> None:
    assert is_main()
    assert first_on_main(lambda: 3) == 3
    assert any_rank(True, "cpu")
    assert not any_rank(False, "cpu")
    assert gather_objects({"rank": 0}) == [{"rank": 0}]


def _worker(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    path = Path(folder) / "made"

    def work() -> str:
        if is_main():
            path.write_text("by main")
        return path.read_text()

    assert first_on_main(work) == "by main"
    assert any_rank(rank == 1, "cpu")
    assert gather_objects(f"of {rank}") == ["of 0", "of 1"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        say("once")
    assert said.getvalue() == ("once\n" if rank == 0 else "")
    torch.manual_seed(0)
    torch.save(shared_rand(2, 5, torch.device("cpu")), f"{folder}/rand_{rank}.pt")
    dist.destroy_process_group()


def test_two_processes(tmp_path: Path) -> None:
    launch.together(_worker, str(tmp_path))
    torch.manual_seed(0)
    whole = torch.rand(4, 5)
    for rank in (0, 1):
        assert torch.equal(torch.load(tmp_path / f"rand_{rank}.pt"), whole[rank::2])


@pytest.mark.parametrize("rows", [1, 3])
def test_without_processes_it_is_plain_rand(rows: int) -> None:
    torch.manual_seed(0)
    drawn = shared_rand(rows, 4, torch.device("cpu"))
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(rows, 4))
