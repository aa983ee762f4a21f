# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
"""Output folders: one owner at a time, and sets of files in them that are replaced as one.

The lock is the kernel's own, on a file in the folder: it ends with the process that holds it, however that ends. So
there are no stale owners, and nothing is guessed from process ids; the text of the file only tells others who the owner
is. The common library of locks leaves its file behind, empties it when it asks for the lock, or takes another kind of
lock, which can be stale, where the kernel has none, each in some of its versions.
"""

from __future__ import annotations

import atexit
import errno
import json
import logging
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from monai_shortcut.storage.files import PART, file_digest, replacing

LOCK = ".monai_shortcut.lock"
_NEW, _READY, _NAMES = ".monai_shortcut.new", ".monai_shortcut.ready", ".monai_shortcut.files"  # ends of hidden names
_BUSY = (errno.EAGAIN, errno.EACCES)
_UNABLE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of file systems without locks
_PAUSE = 0.05  # seconds between two looks at a folder that another process owns
_INTRODUCTION = 1.0  # seconds that an owner may take to say who it is
_LOG = logging.getLogger(__name__)

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 2**30, os.SEEK_SET)  # behind the text, which others may read
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class FolderInUseError(RuntimeError):
    """Another process owns the folder."""


class _Names(NamedTuple):
    """A set of files: its page, and the digest of each file by path."""

    page: str
    files: dict[str, str]


_held: dict[Path, list[int]] = {}  # by folder: descriptor of its lock, and how often this process owns it
_guard = threading.RLock()


@contextmanager
def owned(folder: str | Path, *, wait: float = 0.0) -> Iterator[Path]:
    """Own a folder: other processes that ask for it are refused meanwhile.

    This process may own it again, in any thread; processes that it starts do not own it. What a killed owner had
    complete is put in its place, and what it had not is removed.

    Args:
        folder: made when absent.
        wait: seconds to wait for another owner to end.

    Yields:
        The folder.

    Raises:
        FolderInUseError: If another process owns it; the message says which.
        PermissionError: If the folder, or what stands in its place, cannot be written to.
    """
    until = time.monotonic() + wait
    try:
        place = Path(os.path.realpath(folder))
        place.mkdir(parents=True, exist_ok=True)
        waits = False
        while not _acquired(place):
            if time.monotonic() >= until:
                raise FolderInUseError(_refusal(place))
            if not waits:
                _LOG.warning("waiting up to %g s: %s", wait, _refusal(place))
            waits = True
            time.sleep(_PAUSE)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise PermissionError(f"the output folder must be writable, got {str(folder)!r}: {error}.") from error
    try:
        yield Path(folder)
    finally:
        _release(place)


def writable(folder: str | Path) -> None:
    """Make an output folder and check that this process can write files to it.

    Raises:
        FolderInUseError, PermissionError: As `owned`.
    """
    with owned(folder):
        pass


def replace_files(folder: str | Path, files: Mapping[str, Callable[[Path], object]], page: str) -> Path:
    """Write a set of files that takes the place of the former set of the same page.

    The files are written to a hidden folder beside their places. If that fails, or the process is killed, the former
    set stays whole. When all are written, the former page goes, the files take their places, and the page comes last.
    So a page never stands beside files of another set: a process that is killed meanwhile leaves no page, and the next
    owner of the folder puts the rest in its place. Files of the former set that are not in the new one are removed,
    unless somebody changed them. All others stay.

    Args:
        folder: where they go; made when absent.
        files: the function that writes a file to a path, by the file's path in the folder ("figures/areas.png"). None
            at all removes the former set.
        page: path of the page in the folder, by which the set is known.

    Returns:
        The path of the page.

    Raises:
        IsADirectoryError: If a folder stands in the place of a file.
        FolderInUseError, PermissionError: As `owned`.
    """
    with owned(folder) as place:
        if taken := [str(place / name) for name in files if (place / name).is_dir()]:
            raise IsADirectoryError(f"files of a report must not stand where folders are, got {', '.join(taken)}.")
        new = _hidden(place, page, _NEW)
        new.mkdir()
        try:
            for name, write in files.items():
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                write(new / name)
            names = _Names(page, {name: file_digest(new / name) for name in files})
            (new / _NAMES).write_text(json.dumps(names._asdict(), indent=0), encoding="utf-8")
            new.replace(_hidden(place, page, _READY))
        finally:
            shutil.rmtree(new, ignore_errors=True)
        _move_in(place, _hidden(place, page, _READY))
        return place / page


def _move_in(place: Path, ready: Path) -> None:
    """Put a complete set in its place. A process may be killed after any step; all are then taken again."""
    new = _names(ready / _NAMES)
    if new is not None:
        kept = _hidden(place, new.page, _NAMES)
        former = _names(kept) or _Names(new.page, {})
        stale = [name for name in former.files.keys() - new.files.keys() if _is(place / name, former.files[name])]
        coming = sorted((name for name in new.files if (ready / name).exists()), key=lambda name: name == new.page)
        for name in coming:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
        # From here on the folder has no page, and soon a new one.
        if new.page in coming:
            (place / new.page).unlink(missing_ok=True)
        for name in stale:
            (place / name).unlink()
        for name in coming:
            (ready / name).replace(place / name)
        for folder in {(place / name).parent for name in stale} - {place}:
            with suppress(OSError):  # where other files are
                folder.rmdir()
        with replacing(kept) as part:
            shutil.copyfile(ready / _NAMES, part)
        if not new.files:
            kept.unlink()
    done = ready.with_name(ready.name.removesuffix(_READY) + _NEW)  # which is removed however little of it is left
    ready.replace(done)
    shutil.rmtree(done)


def _is(path: Path, digest: str) -> bool:
    """Whether a file is there and has this digest."""
    try:
        return file_digest(path) == digest
    except OSError:
        return False


def _recover(place: Path) -> None:
    """Finish what a killed owner had complete, and remove what it had not."""
    with os.scandir(place) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(".")]
    for name in names:
        if name.endswith(_NEW):
            shutil.rmtree(place / name)
        elif name.endswith(_READY):
            _move_in(place, place / name)
        elif PART.fullmatch(name):
            (place / name).unlink()


def _hidden(place: Path, page: str, end: str) -> Path:
    return place / f".{page.replace('/', '-')}{end}"


def _names(path: Path) -> _Names | None:
    """What a list of files says; None if there is none, or one that nobody here has written."""
    try:
        found = _Names(**json.loads(path.read_text(encoding="utf-8")))
        paths = [PurePosixPath(name) for name in (found.page, *found.files)]
    except (OSError, TypeError, ValueError):
        return None
    return None if any(path.is_absolute() or ".." in path.parts for path in paths) else found


def _acquired(place: Path) -> bool:
    """Whether this process owns a folder now; False if another one does."""
    with _guard:
        if place in _held:
            _held[place][1] += 1
            return True
        descriptor = _locked(place / LOCK)
        if descriptor is None:
            return False
        _held[place] = [descriptor, 1]
        try:
            os.ftruncate(descriptor, 0)
            owner = f"process {os.getpid()} on host {socket.gethostname()}, since {datetime.now():%Y-%m-%d %H:%M:%S}"
            os.write(descriptor, owner.encode())
            _recover(place)
        except BaseException:
            _release(place)
            raise
        return True


def _locked(path: Path) -> int | None:
    """Descriptor of a file with a lock on it, in nobody else's hands; None if another process has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            with suppress(OSError):  # of another user of the folder, who has done it
                path.chmod(0o666)
            _lock(descriptor)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:  # the former owner has just removed it
            pass
        except OSError as error:
            if error.errno in _UNABLE:
                _LOG.warning("%s cannot be locked (%s): let no other process write there.", path.parent, error)
                return descriptor
            os.close(descriptor)
            if error.errno in _BUSY:
                return None
            raise
        os.close(descriptor)


def _release(place: Path) -> None:
    with _guard:
        if place not in _held:  # at the end of the program
            return
        _held[place][1] -= 1
        if not _held[place][1]:
            descriptor, _ = _held.pop(place)
            with suppress(OSError):  # first, while it is certainly ours
                (place / LOCK).unlink()
            os.close(descriptor)
            if sys.platform == "win32":  # which keeps open files
                with suppress(OSError):
                    (place / LOCK).unlink()


def _refusal(place: Path) -> str:
    return (
        f"a folder must be written by one process at a time, got {place}, which {_owner(place)} owns: "
        "wait until that has ended, end it there, or choose another folder."
    )


def _owner(place: Path) -> str:
    """Who owns a folder, in the words of the owner, who may be about to write them."""
    until = time.monotonic() + _INTRODUCTION
    while time.monotonic() < until:
        with suppress(OSError):
            if text := (place / LOCK).read_text(encoding="utf-8", errors="replace"):
                return text
        time.sleep(_PAUSE)
    return "another process"


@atexit.register
def _release_all() -> None:
    for place in list(_held):
        _held[place][1] = 1
        _release(place)


def _forget() -> None:
    """What a forked process does: its parent owns the folders."""
    global _guard
    _guard = threading.RLock()
    for descriptor, _ in _held.values():
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
