"""Which device a task gets; the number of devices is given, so that no GPU is needed."""

import contextvars
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recsys_batch.contracts.worker_task import TaskInfo, at_task_end, current_task, running_task
from recsys_batch.workers.devices import DeviceLocks, DeviceNotFoundError, count_slots, find_device, list_devices

UUID = "GPU-8f1a"


@pytest.mark.parametrize(
    ("address", "visible", "num_devices", "index"),
    [
        ("0", None, 1, 0),
        ("3", None, 4, 3),
        # Addresses index into the visible devices: position 1 of 4,5 is the machine's device 5, and torch's cuda:1.
        ("1", "4,5", 2, 1),
        ("0", "4,5", 2, 0),
        ("1", "1,0", 2, 1),
        (UUID, f"GPU-0000,{UUID}", 2, 1),
        ("0", UUID, 1, 0),
    ],
)
def test_an_address_is_a_position_among_the_visible_devices(
    address: str, visible: str | None, num_devices: int, index: int
) -> None:
    assert find_device(address, visible, num_devices) == index


@pytest.mark.parametrize(
    ("address", "visible", "num_devices"),
    [("5", "4,5", 2), ("1", None, 1), (UUID, "0,1", 2), (UUID, None, 1), ("0", "", 0), ("-1", None, 2)],
)
def test_an_address_that_leads_nowhere_is_named_with_the_variable(
    address: str, visible: str | None, num_devices: int
) -> None:
    seen = "is not set" if visible is None else f"is '{visible}'"
    with pytest.raises(DeviceNotFoundError, match=rf"'{address}'.*CUDA_VISIBLE_DEVICES {seen}.*discoveryScript"):
        find_device(address, visible, num_devices)


def test_devices_have_one_name_in_every_process() -> None:
    assert list_devices(None, 2) == ["0", "1"]
    assert list_devices("5, 4", 2) == ["5", "4"]
    assert list_devices(f"{UUID}", 1) == [UUID]


def test_two_holders_never_share_a_device(tmp_path: Path) -> None:
    first, second, third = DeviceLocks(tmp_path), DeviceLocks(tmp_path), DeviceLocks(tmp_path)
    assert first.claim(["0", "1"], 1.0) == 0
    assert first.claim(["0", "1"], 1.0) == 0
    assert second.claim(["0", "1"], 1.0) == 1
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            second.release()

    # Its process sees the machine's devices in another order.
    assert third.claim(["1", "0"], 1.0, wait) == 0
    assert len(waits) == 3


def test_a_holder_gets_the_device_it_had_last(tmp_path: Path) -> None:
    first, second = DeviceLocks(tmp_path), DeviceLocks(tmp_path)
    first.claim(["0", "1"], 1.0)
    assert second.claim(["0", "1"], 1.0) == 1
    first.release()
    second.release()
    assert second.claim(["0", "1"], 1.0) == 1


def test_shares_fill_one_device_before_the_next(tmp_path: Path) -> None:
    holders = [DeviceLocks(tmp_path) for _ in range(4)]
    assert [holder.claim(["0", "1"], 0.5) for holder in holders] == [0, 0, 1, 1]


@pytest.mark.parametrize(("share", "slots"), [(1.0, 1), (0.5, 2), (1 / 3, 3), (0.3, 3), (0.1, 10), (2.0, 1)])
def test_slots_of_a_share(share: float, slots: int) -> None:
    assert count_slots(share) == slots


def test_a_killed_process_frees_its_device(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from recsys_batch.workers.devices import DeviceLocks\n"
        "locks = DeviceLocks(Path(sys.argv[1])); print(locks.claim(['0', '1'], 1.0), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "0\n"
        mine = DeviceLocks(tmp_path)
        assert mine.claim(["0", "1"], 1.0) == 1
        mine.release()
        os.kill(other.pid, signal.SIGKILL)
        other.wait(timeout=30)
    assert DeviceLocks(tmp_path).claim(["0", "1"], 1.0) == 0


def test_a_task_frees_its_device_however_it_ends(tmp_path: Path) -> None:
    locks = DeviceLocks(tmp_path)

    def fail() -> None:
        with running_task(TaskInfo(partition=7)):
            assert current_task().partition == 7
            locks.claim(["0"], 1.0)
            at_task_end(locks.release)
            raise ValueError("poison")

    with pytest.raises(ValueError, match="poison"):
        contextvars.copy_context().run(fail)
    assert DeviceLocks(tmp_path).claim(["0"], 1.0) == 0
