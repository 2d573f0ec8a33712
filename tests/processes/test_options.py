"""What a process is told of the others is complete and possible, or ends in one line before any work."""

import re

import pytest

from cnnjax import InputError
from cnnjax.processes.options import Distributed, Place, read_place
from tests.processes import tiny

SLURM = {
    "SLURM_JOB_ID": "5000",
    "SLURM_STEP_NODELIST": "node[07-09],other",
    "SLURM_NTASKS": "6",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
}


@pytest.fixture(autouse=True)
def _started_by_hand(monkeypatch):
    for name in [*SLURM, *OPEN_MPI, "KUBERNETES_SERVICE_HOST"]:
        monkeypatch.delenv(name, raising=False)


def test_a_process_that_is_told_of_no_others_is_alone():
    assert read_place(Distributed()) is None
    assert read_place(Distributed(1, 0, "here:1234")) is None


def test_a_process_told_all_has_its_place():
    assert read_place(Distributed(4, 3, "10.0.0.1:1234")) == Place("10.0.0.1:1234", 4, 3)
    assert read_place(Distributed(2, 0, "[fe80::1]:80")) == Place("[fe80::1]:80", 2, 0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (Distributed(process=1), "distributed.process=1 .* give --distributed.processes"),
        (Distributed(coordinator="here:1"), "distributed.coordinator=here:1 .* give --distributed.processes"),
        (Distributed(2), "distributed.processes=2 needs --distributed.process "),
        (Distributed(2, 1), "needs --distributed.coordinator"),
        (Distributed(2, 2, "here:1"), "distributed.process=2 must be from 0 to 1"),
        (Distributed(2, -1, "here:1"), "distributed.process=-1 must be from 0 to 1"),
        (Distributed(0, 0, "here:1"), "distributed.processes=0 must be at least 1"),
        (Distributed(2, 1, "here"), "distributed.coordinator=here must be HOST:PORT"),
        (Distributed(2, 1, "here:99999"), "must be HOST:PORT"),
        (Distributed(2, 1, ":80"), "must be HOST:PORT"),
        (Distributed("auto", process=1), "distributed.process=1 .* leave it out"),
        (Distributed("auto"), "neither SLURM, Open MPI 4 nor a Kubernetes job"),
    ],
)
def test_what_is_wrong_or_missing_is_named(options, says):
    with pytest.raises(InputError, match=says):
        read_place(options)


def test_slurm_and_open_mpi_tell_each_process_its_place(monkeypatch):
    with monkeypatch.context() as patch:
        for name, value in SLURM.items():
            patch.setenv(name, value)
        # A port of the last 4096, by the number of the job, on the first node; a device for each process of a node.
        assert read_place(Distributed("auto")) == Place(f"node07:{5000 % 4096 + 61440}", 6, 3, [1])
        patch.setenv("SLURM_NTASKS", "1")
        assert read_place(Distributed("auto")) is None
        patch.setenv("SLURM_PROCID", "first")
        with pytest.raises(InputError, match="processes=auto cannot be made out"):
            read_place(Distributed("auto"))
    for name, value in OPEN_MPI.items():
        monkeypatch.setenv(name, value)
    found = read_place(Distributed("auto"))
    assert found is not None
    assert (found.count, found.index, found.devices) == (2, 0, [0])
    assert re.fullmatch(r"10\.96\.0\.1:\d+", found.coordinator)


def test_the_command_refuses_half_of_the_options_before_any_work(tmp_path, monkeypatch, capsys):
    arguments = ["tiny", "--out", str(tmp_path / "run"), "--distributed.processes", "2", "--distributed.process", "1"]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as ended:
        tiny.main(tiny.Config, tiny.run, prog="tiny")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: distributed.processes=2 needs --distributed.coordinator too.\n"
    assert not list(tmp_path.iterdir())
