"""Runs a page of the documentation as its reader does: each command in turn, in one folder.

    python -m support.processes.page_runner PAGE FOLDER [--own-network]

Files are written, commands run and what they print is held against the page, as
``support.processes.page_blocks`` reads it. A command that goes on has a terminal of its own, and
the next block begins when it has printed its text. Every other has to end with exit code 0.

With a network of its own, where the machine allows it, a page may name ports that others use, and
reaches nothing outside.
"""

from __future__ import annotations

import fcntl
import os
import queue
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from support.processes.page_blocks import blocks_of, prints

if TYPE_CHECKING:
    from support.processes.page_blocks import Block

ROOT: Final = Path(__file__).resolve().parents[3]
OWN_NETWORK: Final = "--own-network"
COMMAND_S: Final = 240.0
# What is typed is kept from the commands, which find their input empty.
_SHELL: Final = "exec 3<&0 </dev/null; while IFS= read -r -d '' typed <&3; do eval \"$typed\"; done"


class Terminal:
    """A shell that keeps its variables and folder from one command to the next."""

    def __init__(self, folder: Path) -> None:
        self._lines: queue.Queue[str] = queue.Queue()
        self.printed: list[str] = []
        self._shell = subprocess.Popen(
            ["bash", "-c", _SHELL],  # noqa: S607 - the shell that the reader has
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def run(self, command: str) -> tuple[str, int]:
        """Runs a command to its end; returns what it printed, and its exit code."""
        mark = f"end-of-{len(self.printed)}-{os.urandom(4).hex()}"
        self._type(f"{command}\necho {mark} $?")
        text = self._until(mark)
        before, _, after = text.rpartition(mark)
        return before, int(after)

    def go_on(self, command: str, until: str) -> None:
        """Starts a command that goes on, and waits until it prints a text."""
        self._type(f"{command}\necho ended with $?")
        self._until(until)

    def close(self) -> None:
        """Ends the shell and what it has started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._shell.pid, number)
                self._shell.wait(timeout=30)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self._shell.wait()

    def _type(self, text: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(text + "\0")
        self._shell.stdin.flush()

    def _until(self, text: str) -> str:
        found: list[str] = []
        while not found or text not in found[-1]:
            try:
                found.append(self._lines.get(timeout=COMMAND_S))
            except queue.Empty:
                found.append("")
            if found[-1] == "" or found[-1].startswith("ended with "):
                raise PageError(f"it did not print {text!r} but:\n{''.join(found)}")
            self.printed.append(found[-1])
        return "".join(found)

    def _read(self) -> None:
        assert self._shell.stdout is not None
        for line in self._shell.stdout:
            self._lines.put(line)
        self._lines.put("")


class PageError(Exception):
    """A page that is not true."""


def run_page(page: Path, folder: Path) -> None:
    """Runs all blocks of a page that are to be run."""
    for name in ("examples", "deploy", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)
    terminals = [Terminal(folder)]
    try:
        for block in blocks_of(page.read_text(encoding="utf-8")):
            if block.not_run:
                continue
            if block.title:
                (folder / block.title).write_text(block.body, encoding="utf-8")
            elif block.language == "console":
                _run_block(block, terminals, folder)
    finally:
        for terminal in reversed(terminals):
            terminal.close()


def _run_block(block: Block, terminals: list[Terminal], folder: Path) -> None:
    for command, wanted in block.commands():
        print(f"$ {command}", flush=True)  # noqa: T201 - what a failed run is read by
        if block.until:
            terminals.append(Terminal(folder))
            terminals[-1].go_on(command, block.until)
            continue
        printed, code = terminals[0].run(command)
        print(printed, flush=True)  # noqa: T201
        if code:
            raise PageError(f"exit code {code} of: {command}")
        if not prints(printed, wanted):
            raise PageError(f"{command}\nis to print\n" + "\n".join(wanted))


def started_alone(page: Path, folder: Path) -> list[str]:
    """Returns the command line that runs a page, in a network of its own where that is allowed."""
    line = [sys.executable, "-m", __name__, str(page), str(folder)]
    alone = ["unshare", "--user", "--map-root-user", "--net"]
    if shutil.which("unshare") is None:
        return line
    tried = subprocess.run([*alone, "true"], capture_output=True, check=False)
    return line if tried.returncode else [*alone, *line, OWN_NETWORK]


def _raise_loopback() -> None:
    name_and_flags = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, 0x8914, name_and_flags)  # SIOCSIFFLAGS


def main(page: str, folder: str, *options: str) -> int:
    """Runs one page; returns 0 where all of it is true."""
    if OWN_NETWORK in options:
        _raise_loopback()
    try:
        run_page(Path(page), Path(folder))
    except PageError as error:
        print(f"{page} is not true: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
