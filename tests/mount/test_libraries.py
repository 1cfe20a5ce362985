"""The libraries that make and read artifacts work straight on the mount: each saves, loads back, and changes what it saved."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

ARRAY = np.arange(300_000, dtype=np.float64).reshape(1000, 300)


def clean(root: Path, *names: str) -> None:
    """Only these are left: no temporary file was forgotten."""
    assert sorted(os.listdir(root)) == sorted(names)


def test_numpy_save(root: Path) -> None:
    np.save(root / "a.npy", ARRAY)
    assert np.array_equal(np.load(root / "a.npy"), ARRAY)
    clean(root, "a.npy")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_numpy_savez(root: Path, save: Any) -> None:
    save(root / "a.npz", first=ARRAY, second=ARRAY[::-1])
    with np.load(root / "a.npz") as loaded:
        assert np.array_equal(loaded["first"], ARRAY)
        assert np.array_equal(loaded["second"], ARRAY[::-1])
    clean(root, "a.npz")


def test_numpy_memmap(root: Path) -> None:
    written = np.memmap(root / "m.dat", dtype="float64", mode="w+", shape=ARRAY.shape)
    written[:] = ARRAY
    written[500] = -1
    written.flush()
    del written
    loaded = np.memmap(root / "m.dat", dtype="float64", mode="r", shape=ARRAY.shape)
    assert np.array_equal(loaded[499], ARRAY[499])
    assert (loaded[500] == -1).all()
    changed = np.memmap(root / "m.dat", dtype="float64", mode="r+", shape=ARRAY.shape)
    changed[0, 0] = 12345
    del changed, loaded
    assert np.fromfile(root / "m.dat", dtype="float64")[0] == 12345


def test_numpy_lib_open_memmap(root: Path) -> None:
    np.save(root / "a.npy", ARRAY)
    mapped = np.load(root / "a.npy", mmap_mode="r+")
    mapped[1, 1] = 7
    mapped.flush()
    del mapped
    assert np.load(root / "a.npy")[1, 1] == 7


def test_pickle(root: Path) -> None:
    value = {"array": ARRAY, "text": "grün", "nested": [{"a": (1, 2)}] * 1000}
    with open(root / "model.pkl", "wb") as file:
        pickle.dump(value, file)
    with open(root / "model.pkl", "rb") as file:
        loaded = pickle.load(file)
    assert np.array_equal(loaded.pop("array"), value.pop("array"))  # type: ignore[arg-type]
    assert loaded == value


@pytest.mark.parametrize("compress", [0, 3])
def test_joblib(root: Path, compress: int) -> None:
    joblib.dump({"weights": ARRAY}, root / "model.joblib", compress=compress)
    assert np.array_equal(joblib.load(root / "model.joblib")["weights"], ARRAY)


def test_joblib_memory_mapped(root: Path) -> None:
    joblib.dump(ARRAY, root / "array.joblib")
    assert np.array_equal(joblib.load(root / "array.joblib", mmap_mode="r"), ARRAY)


def test_joblib_cache(root: Path) -> None:
    """Its cache lives on renames of temporary files and directories."""
    calls = []

    def square(number: int) -> int:
        calls.append(number)
        return number * number

    for _ in range(2):
        cached = joblib.Memory(root / "cache", verbose=0).cache(square)
        assert [cached(number) for number in range(5)] == [0, 1, 4, 9, 16]
    assert calls == [0, 1, 2, 3, 4]


def test_safetensors(root: Path) -> None:
    from safetensors.numpy import load_file, save_file

    save_file({"weights": ARRAY, "bias": ARRAY[0].copy()}, root / "model.safetensors")
    loaded = load_file(root / "model.safetensors")
    assert np.array_equal(loaded["weights"], ARRAY)
    save_file({"other": ARRAY[0].copy()}, root / "model.safetensors")
    assert set(load_file(root / "model.safetensors")) == {"other"}
    clean(root, "model.safetensors")


def test_h5py(root: Path) -> None:
    import h5py

    with h5py.File(root / "data.h5", "w") as file:
        file.create_dataset("x", data=ARRAY, chunks=(100, 100), maxshape=(None, 300), compression="gzip")
    with h5py.File(root / "data.h5", "a") as file:
        file["x"].resize(1100, axis=0)
        file["x"][1000:] = 5.0
        file.attrs["note"] = "appended"
    with h5py.File(root / "data.h5", "r") as file:
        assert np.array_equal(file["x"][:1000], ARRAY)
        assert (file["x"][1000:] == 5.0).all()
        assert file.attrs["note"] == "appended"


def test_parquet_by_pandas(root: Path) -> None:
    import pandas

    frame = pandas.DataFrame({"number": range(20_000), "word": [f"word {number % 97}" for number in range(20_000)]})
    frame.to_parquet(root / "frame.parquet")
    assert pandas.read_parquet(root / "frame.parquet").equals(frame)
    assert pandas.read_parquet(root / "frame.parquet", columns=["word"])["word"].nunique() == 97
    frame.to_csv(root / "frame.csv", index=False)
    assert pandas.read_csv(root / "frame.csv").equals(frame)


def test_parquet_dataset_by_pyarrow(root: Path) -> None:
    """A directory of partitions, and a file mapped into memory."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"part": [number % 3 for number in range(9000)], "value": list(range(9000))})
    pyarrow.parquet.write_to_dataset(table, root / "set", partition_cols=["part"])
    assert sorted(os.listdir(root / "set")) == ["part=0", "part=1", "part=2"]
    read = pyarrow.parquet.read_table(root / "set")
    assert sorted(read["value"].to_pylist()) == list(range(9000))
    pyarrow.parquet.write_table(table, root / "one.parquet")
    assert pyarrow.parquet.read_table(root / "one.parquet", memory_map=True).equals(table)


def test_arrow_ipc(root: Path) -> None:
    import pyarrow

    table = pyarrow.table({"value": list(range(50_000))})
    with pyarrow.OSFile(str(root / "t.arrow"), "wb") as sink, pyarrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pyarrow.memory_map(str(root / "t.arrow")) as source:
        assert pyarrow.ipc.open_file(source).read_all().equals(table)


def test_zarr(root: Path) -> None:
    import zarr

    stored = zarr.open_array(str(root / "array.zarr"), mode="w", shape=ARRAY.shape, chunks=(250, 100), dtype="float64")
    stored[:] = ARRAY
    stored[10:20, 5:15] = 0
    loaded = zarr.open_array(str(root / "array.zarr"), mode="r")
    expected = ARRAY.copy()
    expected[10:20, 5:15] = 0
    assert np.array_equal(loaded[:], expected)


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "gif", "webp", "bmp"])
def test_pillow(root: Path, kind: str) -> None:
    from PIL import Image

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8))
    picture.save(root / f"picture.{kind}")
    with Image.open(root / f"picture.{kind}") as loaded:
        loaded.load()
        assert loaded.size == (160, 120)
    clean(root, f"picture.{kind}")


def test_pillow_appends_frames(root: Path) -> None:
    """A multi-frame TIFF is written back and forth in one file."""
    from PIL import Image

    frames = [Image.new("L", (50, 50), shade) for shade in (10, 100, 200)]
    frames[0].save(root / "stack.tiff", save_all=True, append_images=frames[1:])
    with Image.open(root / "stack.tiff") as loaded:
        loaded.seek(2)
        assert loaded.getpixel((0, 0)) == 200
        with pytest.raises(EOFError):
            loaded.seek(3)
