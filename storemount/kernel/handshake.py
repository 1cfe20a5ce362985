"""The first words with the kernel: a FUSE channel with features that pyfuse3 cannot ask for.

What it is: fusermount3's side of mount(2), and a rewriting of the one INIT reply, after which libfuse talks to the kernel directly.
What it is not: on the way of any other request.

Why: without FUSE_HANDLE_KILLPRIV_V2 the kernel asks for the extended attribute `security.capability` before every write(2), one
request each: measured, 4 KiB writes at 50 MB/s instead of 500-1300. libfuse before 3.17 cannot set the flag, and pyfuse3 hands
nobody the INIT reply.

How: libfuse is given one end of a socket pair as its channel (`/dev/fd/N` as the mountpoint, fuse_session_mount(3)). The kernel's
INIT goes to it, its reply comes back and gets the flags, and then the real channel takes the place of the socket under the same
descriptor number. The formats are those of <linux/fuse.h>.

Invariants: what the kernel did not offer is not set. A daemon that asks for KILLPRIV_V2 clears set-id bits itself on write, truncate
and chown.
"""

from __future__ import annotations

import array
import os
import select
import shutil
import socket
import struct
import subprocess
import threading

import trio

HANDLE_KILLPRIV_V2 = 1 << 28
CACHE_SYMLINKS = 1 << 23
WANTED = HANDLE_KILLPRIV_V2 | CACHE_SYMLINKS

IN_HEADER = struct.Struct("=IIQQIIII")
INIT_IN = struct.Struct("=IIII")
OUT_HEADER = struct.Struct("=IiQ")
INIT_OUT = struct.Struct("=IIIIHH")
FLAGS_OFFSET = OUT_HEADER.size + 12
BACKGROUND_OFFSET = OUT_HEADER.size + 16
LARGEST_REQUEST = 1 << 21

BACKGROUND = 64
"""Requests in flight that nobody waits for by name: read-ahead and write-back."""


def open_channel(mountpoint: str, options: set[str]) -> int:
    """Mount through fusermount3 and give back the descriptor of the kernel's channel. Raises OSError with fusermount3's own words."""
    tool = shutil.which("fusermount3")
    if tool is None:
        raise FileNotFoundError("fusermount3 is not on PATH; install the package fuse3")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        command = [tool, "-o", ",".join(sorted(options)), "--", mountpoint]
        environment = {**os.environ, "_FUSE_COMMFD": str(theirs.fileno())}
        done = subprocess.run(
            command, env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise OSError(done.stderr.strip() or f"fusermount3 ended with {done.returncode}")
        return _received(ours)


def _received(connection: socket.socket) -> int:
    descriptors = array.array("i")
    _, ancillary, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(descriptors.itemsize))
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: descriptors.itemsize])
    if not descriptors:
        raise OSError("fusermount3 sent no descriptor")
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]


def with_features(request: bytes, reply: bytes) -> bytes:
    """libfuse's answer to INIT, with what we want of what the kernel offered."""
    offered = INIT_IN.unpack_from(request, IN_HEADER.size)[3]
    error = OUT_HEADER.unpack_from(reply)[1]
    if error or len(reply) < OUT_HEADER.size + INIT_OUT.size:
        return reply
    answer = bytearray(reply)
    (flags,) = struct.unpack_from("=I", answer, FLAGS_OFFSET)
    struct.pack_into("=I", answer, FLAGS_OFFSET, flags | (offered & WANTED))
    struct.pack_into("=HH", answer, BACKGROUND_OFFSET, BACKGROUND, BACKGROUND * 3 // 4)
    return bytes(answer)


class Handshake:
    """One mount's first exchange. `near` is the descriptor that libfuse gets; it owns it from then on."""

    def __init__(self, mountpoint: str, options: set[str]) -> None:
        self._mountpoint = mountpoint
        self._channel = open_channel(mountpoint, options)
        near, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.near = near.detach()

    async def complete(self) -> None:
        """Exchange INIT, while libfuse's loop runs in another task; then put the kernel's channel in place. Raises OSError."""
        try:
            await trio.to_thread.run_sync(self._exchange)
            await self._switch()
        finally:
            self._far.close()
            os.close(self._channel)

    def _exchange(self) -> None:
        request = os.read(self._channel, LARGEST_REQUEST)
        self._far.send(request)
        os.write(self._channel, with_features(request, self._far.recv(LARGEST_REQUEST)))
        # libfuse's first read of the channel is a blocking one: have something there for it.
        threading.Thread(target=os.stat, args=(self._mountpoint,), daemon=True, name="first request").start()
        something = select.poll()  # select(2) knows no descriptor beyond 1023, and a mount may have taken up more files than that.
        something.register(self._channel, select.POLLIN)
        something.poll()

    async def _switch(self) -> None:
        """The loop waits on the old socket: wake it through that, and let it find the kernel behind the same number.

        The duplicate keeps the old socket in the poll set until its wake-up has been delivered.
        """
        old = os.dup(self.near)
        os.dup2(self._channel, self.near, inheritable=False)
        try:
            self._far.send(b"\0")
            for _ in range(2):
                await trio.lowlevel.checkpoint()
        finally:
            os.close(old)
