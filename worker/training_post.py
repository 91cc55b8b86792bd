"""The folder by which a worker and the processes of a training in several hand each other states, news and endings.

The processes open no connections: what they leave here, the worker brings to the database and the blob store.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from core.errors import WindthrowError
from core.jobs.events import EventType
from core.training import DivergenceError, StoppedError, Trainer
from worker.contract import StopRequested, TurnOver
from worker.keeping import told_if_full
from worker.training_run import Keeper, Training, write_state


class ProcessError(WindthrowError):
    """What a process of a training raised, under the code that it has there."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Post:
    """A folder between the worker and the processes of a training; to the first of these it is their `Keeper`."""

    folder: Path

    @property
    def start(self) -> Path:
        """The state that all processes begin with."""
        return self.folder / "start.safetensors"

    @property
    def final(self) -> Path:
        """The state in the end."""
        return self.folder / "final.safetensors"

    @property
    def meeting(self) -> Path:
        """By which the processes find each other."""
        return self.folder / "meeting"

    @property
    def told(self) -> Path:
        """What is to be told: a JSON object a line."""
        return self.folder / "told"

    def begin(self, training: Training, trainer: Trainer) -> None:
        """Leave what the processes need.

        Raises:
            StorageFullError: there is no room for it.
        """
        write_state(trainer, self.start)
        with told_if_full("a training"):
            self._training.write_bytes(TypeAdapter(Training).dump_json(training))
            self.told.touch()

    def training(self) -> Training:
        """What is trained."""
        return TypeAdapter(Training).validate_json(self._training.read_bytes())

    def ask_to_stop(self) -> None:
        """Let the first process, and so all, stop before the next iteration."""
        (self.folder / "stop").touch()

    def check(self) -> None:
        """Return if the training is still wanted.

        Raises:
            StopRequested: it is not.
        """
        if (self.folder / "stop").exists():
            raise StopRequested("told to stop")

    def keep(self, state: Path, *, position: int, share: float) -> None:
        """Leave a finished state to be kept; the ones before need not be any more."""
        older = list(self.states())
        state.replace(self.folder / f"{position} {share!r}.state")
        for path in older:
            path.unlink(missing_ok=True)

    def states(self) -> Iterator[Path]:
        """Those that nobody has taken yet, named by position and share."""
        return self.folder.glob("*.state")

    def tell(self, kind: EventType, data: Mapping[str, Any]) -> None:
        """Leave an event to be told."""
        with told_if_full("what a training tells"), self.told.open("a") as file:
            file.write(json.dumps({"kind": kind, "data": data}) + "\n")

    @contextmanager
    def telling_why(self) -> Iterator[None]:
        """Say why a process ended early: the first to do so knows it, the others may only miss that one.

        What ends all processes alike is not raised, lest they be killed while the first still keeps its state.
        """
        try:
            yield
        except (StopRequested, StoppedError):
            pass
        except (TurnOver, DivergenceError) as error:
            self._say(error)
        except Exception as error:
            self._say(error)
            raise

    def raise_ending(self) -> None:
        """Raise what a process said, if one did."""
        if not self._ending.exists():
            return
        why = json.loads(self._ending.read_bytes())
        if why["kind"] == "turn":
            raise TurnOver
        if why["kind"] == "ours":
            raise ProcessError(why["code"], why["message"])
        raise RuntimeError(f"a process of the training failed: {why['message']}")

    def _say(self, error: Exception) -> None:
        draft = self.folder / f"ending.{os.getpid()}"
        draft.write_text(json.dumps(_reason(error)))
        with suppress(FileExistsError):
            os.link(draft, self._ending)
        draft.unlink()

    @property
    def _training(self) -> Path:
        return self.folder / "training.json"

    @property
    def _ending(self) -> Path:
        return self.folder / "ending"


def _reason(error: Exception) -> dict[str, str]:
    match error:
        case TurnOver():
            return {"kind": "turn"}
        case WindthrowError():
            return {"kind": "ours", "code": error.code, "message": str(error)}
        case _:
            return {"kind": "unexpected", "message": f"{type(error).__name__}: {error}"}


class Forwarding:
    """Brings what the processes leave to where the worker keeps it."""

    def __init__(self, post: Post, keeper: Keeper) -> None:
        self.post = post
        self._keeper = keeper
        self._told = 0

    def forward(self) -> None:
        """Tell what is new, and keep the newest state.

        Raises:
            StorageFullError: there is no room for it.
        """
        with self.post.told.open("rb") as file:
            file.seek(self._told)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._told += len(line)
                self._keeper.tell(**json.loads(line))
        for position, share, state in sorted(map(_named, self.post.states()), reverse=True)[:1]:
            taken = self.post.folder / "taken"
            with suppress(FileNotFoundError):  # a newer one is in its place, and found the next time
                state.replace(taken)
                self._keeper.keep(taken, position=position, share=share)


def _named(state: Path) -> tuple[int, float, Path]:
    position, share = state.stem.split()
    return int(position), float(share), state
