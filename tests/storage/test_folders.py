# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import threading
from collections import Counter
from pathlib import Path

import pytest
from storage_processes import holding, start

from monai_shortcut.storage.files import replacing
from monai_shortcut.storage.folders import LOCK, FolderInUseError, owned, replace_files, writable

fcntl = pytest.importorskip("fcntl")  # of the systems on which processes can be killed without a word


def contents(folder: Path) -> dict[str, str]:
    """Text of the files by path."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in found}


def seen(folder: Path) -> dict[str, str]:
    return {name: text for name, text in contents(folder).items() if not name.startswith(".")}


# Owners


def test_of_two_processes_that_start_at_once_one_owns_the_folder(tmp_path):
    script = """
sys.stdin.readline()
try:
    with owned(sys.argv[2]):
        print("owned", flush=True)
        sys.stdin.read()
except FolderInUseError as error:
    print(error)
"""
    processes = [start(script, tmp_path / "made") for _ in range(2)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    first = [process.stdout.readline() for process in processes]
    assert sorted(line == "owned\n" for line in first) == [False, True]
    (refusal,) = [line for line in first if line != "owned\n"]
    (owner,) = [process for process, line in zip(processes, first, strict=True) if line == "owned\n"]
    assert refusal.startswith(f"a folder must be written by one process at a time, got {tmp_path / 'made'}, which ")
    assert f"which process {owner.pid} on host {socket.gethostname()}, since 20" in refusal
    assert refusal.endswith("owns: wait until that has ended, end it there, or choose another folder.\n")
    for process in processes:
        assert process.communicate()[1] == ""
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(("said", "named"), [("process 7 on host late", "process 7 on host"), ("", "another process")])
def test_an_owner_may_say_who_it_is_a_moment_after_it_has_the_folder(tmp_path, said, named):
    with (tmp_path / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        timer = threading.Timer(0.2, (tmp_path / LOCK).write_text, [said])
        timer.start()
        with pytest.raises(FolderInUseError, match=f"got .*, which {named}( late)? owns"):
            writable(tmp_path)
        timer.join()


def test_a_killed_owner_is_none_and_its_leftovers_go(tmp_path):
    (tmp_path / ".mine.1.part").write_text("of the user")
    process = holding(tmp_path)
    with replacing(tmp_path / "rows.csv") as part:
        left = part.with_name(part.name.replace(str(os.getpid()), str(process.pid)))
        left.write_text("hal")
        part.write_text("whole")
    (tmp_path / ".report.html.monai_shortcut.new" / "figures").mkdir(parents=True)
    for call in (lambda: writable(tmp_path), lambda: replace_files(tmp_path, {}, "report.html")):
        with pytest.raises(FolderInUseError, match=f"which process {process.pid} on host"):
            call()
    process.kill()
    process.communicate()
    assert (tmp_path / LOCK).read_text().startswith(f"process {process.pid} on host")
    writable(tmp_path)
    assert contents(tmp_path) == {".mine.1.part": "of the user", "rows.csv": "whole"}
    assert not list(tmp_path.glob("*monai_shortcut*"))


def test_processes_that_are_forked_do_not_keep_the_folder_of_a_killed_owner(tmp_path):
    script = r"""
with owned(sys.argv[2]):
    child = os.fork()
    if not child:
        try:
            with owned(sys.argv[2]):
                os.write(1, b"owned by the child\n")
        except FolderInUseError as error:
            os.write(1, f"{error}\n".encode())
        time.sleep(60)
    os.write(1, f"{child}\n".encode())
    time.sleep(60)
"""
    process = start(script, tmp_path)
    lines = sorted(process.stdout.readline() for _ in range(2))
    assert len(set(lines)) == 2, process.communicate()
    child = int(lines[0])
    try:
        assert f"which process {process.pid} on host" in lines[1]
        process.kill()
        process.wait()
        writable(tmp_path)
    finally:
        os.kill(child, 9)
        process.communicate()


def test_a_process_owns_a_folder_several_times_and_in_any_thread(tmp_path):
    with owned(tmp_path) as place, owned(tmp_path / "." / ".." / tmp_path.name):
        assert place == tmp_path
        thread = threading.Thread(target=replace_files, args=(tmp_path, {"a": lambda path: path.write_text("x")}, "a"))
        thread.start()
        thread.join()
        assert (tmp_path / "a").read_text() == "x"
        assert (tmp_path / LOCK).is_file()
    assert not (tmp_path / LOCK).exists()


def test_an_owner_may_be_waited_for(tmp_path, caplog):
    process = holding(tmp_path)
    threading.Timer(0.3, process.stdin.close).start()
    with owned(tmp_path, wait=60):
        assert process.wait() == 0
    assert f"waiting up to 60 s: a folder must be written by one process at a time, got {tmp_path}" in caplog.text
    process.stdin = None
    process.communicate()


def test_where_the_file_system_has_no_locks_it_is_said(tmp_path, caplog, monkeypatch):
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with owned(tmp_path):
        assert f"{tmp_path} cannot be locked" in caplog.text
    assert not (tmp_path / LOCK).exists()


def test_a_folder_that_cannot_be_locked_for_another_reason_is_refused(tmp_path, monkeypatch):
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(PermissionError, match=r"the output folder must be writable, got .*Input/output error"):
        writable(tmp_path)


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_file_in_the_folders_place_is_refused(tmp_path, below):
    place = tmp_path / "taken"
    place.write_text("mine")
    for call in (lambda: writable(place / below), lambda: replace_files(place / below, {}, "report.html")):
        with pytest.raises(PermissionError, match=r"the output folder must be writable, got .*taken"):
            call()
    assert place.read_text() == "mine"


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_name_that_no_folder_can_have_is_refused(tmp_path, name):
    with pytest.raises(PermissionError, match=r"the output folder must be writable, got '.*(x{300}|a\\x00b)'"):
        writable(f"{tmp_path}/{name}")


# Sets of files

PAGE = "report.html"
USERS = {"embeddings.npz": "mine", "figures/own.png": "mine", ".hidden": "mine", "logs/log.txt": "mine"}
SETS = {
    "old": {PAGE: "old", "rows.csv": "old", "figures/a.png": "old", "figures/b.png": "old", "mass/only.csv": "old"},
    "new": {PAGE: "new", "rows.csv": "new", "figures/a.png": "new", "deep/er/record.json": "new"},
}


def write(folder: Path, which: str, page: str = PAGE) -> Path:
    files = {name: lambda path, text=text: path.write_text(text) for name, text in SETS[which].items()}
    return replace_files(folder, files, page)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A user's folder with an old report in it."""
    for name, text in USERS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    write(tmp_path, "old")
    return tmp_path


def test_a_set_takes_the_place_of_the_former_one_and_users_files_stay(folder):
    assert seen(folder) == SETS["old"] | {name: text for name, text in USERS.items() if name != ".hidden"}
    assert write(folder, "new") == folder / PAGE
    assert {name: text for name, text in contents(folder).items() if name != f".{PAGE}.monai_shortcut.files"} == {
        **SETS["new"],
        **USERS,
    }
    assert not (folder / "mass").exists()  # where nothing else was
    replace_files(folder, {}, PAGE)
    assert contents(folder) == USERS


def test_files_of_a_former_set_that_somebody_changed_stay(folder):
    (folder / "figures" / "b.png").write_text("mine now")
    (folder / "mass" / "only.csv").unlink()
    write(folder, "new")
    assert seen(folder)["figures/b.png"] == "mine now"
    assert "figures/a.png" in seen(folder)


def test_sets_of_other_pages_stay(folder):
    replace_files(folder, {"training.html": lambda path: path.write_text("other")}, "training.html")
    write(folder, "new")
    assert seen(folder)["training.html"] == "other"
    replace_files(folder, {}, "training.html")
    assert seen(folder).items() >= SETS["new"].items()
    assert "training.html" not in seen(folder)


@pytest.mark.parametrize("place", ["rows.csv", "figures/a.png", PAGE])
def test_a_set_that_cannot_be_written_leaves_the_former_one_whole(folder, place):
    before = contents(folder)

    def fail(path: Path) -> None:
        path.write_text("hal")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        replace_files(folder, {name: fail if name == place else lambda path: path.touch() for name in before}, PAGE)
    assert contents(folder) == before
    (folder / place).unlink()
    (folder / place).mkdir()
    whole = contents(folder)
    with pytest.raises(
        IsADirectoryError, match=f"files of a report must not stand where folders are, got {folder / place}"
    ):
        write(folder, "new")
    assert contents(folder) == whole


@pytest.mark.parametrize("names", ["{", "[]", '{"page": "report.html", "files": {"../other/a.txt": "%s"}}'])
def test_a_list_of_files_that_somebody_changed_removes_nothing(tmp_path, names):
    other = tmp_path / "other" / "a.txt"
    other.parent.mkdir()
    other.write_text("mine")
    digest = hashlib.sha256(b"mine").hexdigest()
    write(tmp_path / "out", "old")
    (tmp_path / "out" / f".{PAGE}.monai_shortcut.files").write_text(names.replace("%s", digest))
    write(tmp_path / "out", "new")
    assert other.read_text() == "mine"
    assert seen(tmp_path / "out").items() >= SETS["new"].items()


KILLED = """
which, target, sets = int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
def write(which, folder):
    files = {name: lambda path, text=text: path.write_text(text) for name, text in sets[which].items()}
    replace_files(folder, files, "report.html")
steps = 0
def kill(event, arguments):  # before the system is asked to change anything
    global steps
    if event in ("open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "shutil.rmtree"):
        steps += 1
        if steps == which:
            os.kill(os.getpid(), 9)
while True:
    folder = os.path.join(target, str(which))
    write("old", folder)
    with open(os.path.join(folder, "figures", "own.png"), "w") as file:
        file.write("mine")
    child = os.fork()
    if not child:
        sys.addaudithook(kill)
        write("new", folder)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
    which += 1
print(which)
"""


def test_a_process_killed_at_any_step_leaves_no_page_beside_files_of_another_report(tmp_path):
    process = start(KILLED, 1, tmp_path, json.dumps(SETS))
    out, problems = process.communicate()
    assert problems == ""
    kills = int(out) - 1
    found, after_step = Counter(), {}
    for step in range(1, kills + 1):
        place = tmp_path / str(step)
        left = seen(place)
        assert left.pop("figures/own.png") == "mine"
        whole = next((name for name, files in SETS.items() if left == files), "")
        assert whole or PAGE not in left, step
        found[whole or "no page"] += 1
        writable(place)  # as whatever comes next does
        left = contents(place)
        assert left.pop("figures/own.png") == "mine"
        left.pop(f".{PAGE}.monai_shortcut.files")
        assert left in SETS.values(), step  # neither a mixture nor a hidden file
        after_step[step] = left[PAGE]
    after = Counter(after_step.values())
    assert kills > 30
    assert found.keys() == {"old", "no page", "new"}
    assert 0 < after["old"] <= found["old"]  # what was complete is put in its place
    assert [which for _, which in sorted(after_step.items())] == ["old"] * after["old"] + ["new"] * after["new"]
    print(f"{kills} kills: {dict(found)}, after the next owner {dict(after)}")
