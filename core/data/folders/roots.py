"""Reading files by their names below a root, and nothing else: no name or link leads out of it."""

import os
import re
import stat
from pathlib import Path, PurePosixPath

from core.data.folders.errors import FolderError, RefusedError

MAX_FILE_BYTES = 512 * 2**20
"""A larger image or label is refused before it is read; shards may be of any size."""

MAX_NAME = 1024

_PLAIN = re.compile(r"\w[\w.\-]*(?:/\w[\w.\-]*)*")
_FORBIDDEN = re.compile(r"[\\\x00-\x1f\x7f]")


def check_root(root: Path | str) -> Path:
    """The root as an absolute path without links.

    Raises:
        FolderError: it is not a directory.
    """
    found = Path(os.path.realpath(Path(root).expanduser()))
    if not found.is_dir():
        raise FolderError(f"{root} is not a directory", field="root")
    return found


def check_name(name: object, *, field: str) -> str:
    """A file's name below the root: relative, with "/" between its parts.

    Raises:
        FolderError: it is no string, absolute, leads upwards, or holds a backslash or control characters.
    """
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
        raise FolderError(f"{field}: a file's name is a string of 1 to {MAX_NAME} letters", field=field)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise FolderError(f"{field}: {name!a} is not valid text", field=field) from error
    if _PLAIN.fullmatch(name):
        return name
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise FolderError(f"{field}: {name!r} must lie below the root: no leading / and no ..", field=field)
    if _FORBIDDEN.search(name):
        raise FolderError(f"{field}: {name!r} holds a backslash or a control character", field=field)
    return str(path)


def place(root: str, name: str) -> str:
    """Where a file lies, its links resolved.

    Raises:
        RefusedError: it lies outside the root.
    """
    found = os.path.realpath(os.path.join(root, name))  # noqa: PTH118 - a million times over, strings are quicker
    if not found.startswith(root.rstrip(os.sep) + os.sep):
        raise RefusedError("unreadable", "a link leads out of the root; copy the file below it")
    return found


def stat_file(root: str, name: str) -> os.stat_result:
    """What the file system says of a regular file below the root.

    Raises:
        RefusedError: there is none.
    """
    return _stat(place(root, name))


class Looker:
    """Looks at many files below a root, resolving each folder's links once."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._folders = {"": root}

    def stat(self, name: str) -> os.stat_result:
        """What the file system says of a regular file below the root.

        Raises:
            RefusedError: there is none.
        """
        folder, _, last = name.rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = place(self._root, folder)
        path = f"{self._folders[folder]}/{last}"
        return stat_file(self._root, name) if os.path.islink(path) else _stat(path)  # noqa: PTH114 - as above


def read_file(root: str, name: str) -> bytes:
    """A whole file.

    Raises:
        RefusedError: there is none, or it is larger than `MAX_FILE_BYTES`.
    """
    path = place(root, name)
    return _read(path, 0, _stat(path).st_size)


def read_range(root: str, name: str, offset: int, size: int) -> bytes:
    """Some bytes of a file, which is opened each time: threads and processes share nothing.

    Raises:
        RefusedError: there are not as many, or more than `MAX_FILE_BYTES`.
    """
    return _read(place(root, name), offset, size)


def _stat(path: str) -> os.stat_result:
    try:
        found = os.stat(path)  # noqa: PTH116 - as above
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RefusedError("missing", "there is no such file") from error
    except (OSError, ValueError) as error:
        raise RefusedError("unreadable", f"it cannot be read: {error}") from error
    if not stat.S_ISREG(found.st_mode):
        raise RefusedError("unreadable", "it is not a regular file")
    return found


def _read(path: str, offset: int, size: int) -> bytes:
    if size > MAX_FILE_BYTES:
        raise RefusedError("unreadable", f"{size} bytes; at most {MAX_FILE_BYTES} are read")
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - as above
            file.seek(offset)
            data = file.read(size)
    except FileNotFoundError as error:
        raise RefusedError("missing", "there is no such file") from error
    except OSError as error:
        raise RefusedError("unreadable", f"it cannot be read: {error}") from error
    if len(data) != size:
        raise RefusedError("unreadable", f"it ends after {len(data)} of {size} bytes")
    return data
