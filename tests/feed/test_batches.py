# ruff: noqa: S301  (the real unpickler is the oracle here, and reads what these tests wrote)
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stalwart.core import catalog
from stalwart.core.contracts import Info
from stalwart.core.errors import DataError, InputError
from stalwart.feed import batches as module
from stalwart.feed.arrays import ArrayExamples
from stalwart.feed.batches import Batches
from stalwart.feed.files import FileExamples
from stalwart.feed.shelf import Shelf

TASK = catalog.make("classification()", "tasks")
AUGMENTS = catalog.make_all("(crop(1), altflip(), cutout(2), colour())", "augments")


def toy(n: int = 23, channels: int = 3) -> ArrayExamples:
    info = Info("toy", ("a", "b", "c"), "none", "made up", channels=channels, size=(6, 5))
    images = torch.randint(0, 256, (n, channels, 6, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return ArrayExamples(info, images, [i % 3 for i in range(n)], "toy")


@pytest.fixture
def files(tmp_path) -> FileExamples:
    """Nine images of nine sizes."""
    rng = np.random.default_rng(0)
    paths = []
    for i in range(9):
        path = tmp_path / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (8 + i, 12 - i, 3), dtype=np.uint8)).save(path)
        paths.append(str(path))
    return FileExamples(Info("files", ("a", "b"), "none", "made up"), paths, [i % 2 for i in range(9)])


def epochs(batches: Batches, count: int = 1, start: int = 0):
    return [batch for epoch in range(count) for batch in batches.epoch(epoch, start)]


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.targets, b.targets)
        assert torch.equal(a.index, b.index)
        assert torch.equal(a.noise.keys, b.noise.keys)


@given(st.integers(0, 30), st.integers(1, 12), st.booleans(), st.booleans(), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_every_sample_comes_once_an_epoch(n, size, shuffle, drop_last, epoch):
    batches = Batches(toy(n), TASK, batch=size, shuffle=shuffle, drop_last=drop_last)
    got = list(batches.epoch(epoch))
    assert len(got) == len(batches) == (n // size if drop_last else -(-n // size))
    index = [i for batch in got for i in batch.index.tolist()]
    assert len(set(index)) == len(index) == (n // size * size if drop_last else n)
    if not shuffle:
        assert index == list(range(len(index)))
    for batch in got:
        assert batch.targets.tolist() == [i % 3 for i in batch.index.tolist()]


def test_images_are_the_pixels_over_255():
    examples = toy()
    for layout in (torch.channels_last, torch.contiguous_format):
        (batch,) = Batches(examples, TASK, batch=23, shuffle=True, layout=layout).epoch(0)
        expected = examples.arrays()[0][batch.index].float() / 255
        assert torch.equal(batch.images, expected)
        assert batch.images.is_contiguous(memory_format=layout)
        assert batch.images.dtype == torch.float32


def test_orders_differ_by_epoch_and_seed_and_repeat():
    batches = Batches(toy(), TASK, batch=23, shuffle=True, seed=1)
    first, second = (next(batches.epoch(e)).index.tolist() for e in (0, 1))
    assert first != second
    assert next(batches.epoch(0)).index.tolist() == first
    assert next(Batches(toy(), TASK, batch=23, shuffle=True, seed=2).epoch(0)).index.tolist() != first


@pytest.mark.parametrize("memory", [True, False])
@pytest.mark.parametrize("start", [0, 1, 3, 5, 6])
def test_resuming_at_a_batch_gives_the_rest_of_the_epoch(memory, start):
    batches = Batches(toy(), TASK, batch=4, shuffle=True, augments=AUGMENTS, memory=memory)
    whole = list(batches.epoch(2))
    assert_same(list(batches.epoch(2, start)), whole[start:])


def test_start_past_the_end_is_refused():
    with pytest.raises(InputError, match=r"start must be a batch number in 0\.\.6"):
        Batches(toy(), TASK, batch=4).epoch(0, 7)


@pytest.mark.parametrize("memory", [True, False])
@pytest.mark.parametrize("world", [2, 3])
def test_the_ranks_parts_are_the_single_processs_batches(memory, world):
    def make(**options):
        return Batches(toy(), TASK, batch=7, shuffle=True, augments=AUGMENTS, memory=memory, **options)

    whole = epochs(make(), 2)
    parts = [epochs(make(rank=rank, world=world), 2) for rank in range(world)]
    assert {len(part) for part in parts} == {len(whole)}
    for number, batch in enumerate(whole):
        of_ranks = [part[number] for part in parts]
        for name in ("images", "targets", "index"):
            assert torch.equal(torch.cat([getattr(p, name) for p in of_ranks]), getattr(batch, name))
        assert max(len(p.index) for p in of_ranks) - min(len(p.index) for p in of_ranks) <= 1


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_streamed_batches_are_those_from_memory(files, workers):
    options = {"batch": 4, "size": (7, 6), "shuffle": True, "augments": AUGMENTS, "seed": 5}
    kept = Batches(files, TASK, memory=True, **options)
    streamed = Batches(files, TASK, memory=False, workers=workers, **options)
    assert kept.in_memory
    assert not streamed.in_memory
    expected = epochs(kept, 3)
    assert_same(epochs(streamed, 3), expected)
    next(streamed.epoch(1))  # leave an epoch in its midst
    assert_same(list(streamed.epoch(1, 1)), expected[4:6])
    streamed.close()
    assert_same(epochs(streamed, 1), expected[:3])


@pytest.mark.parametrize("spelled", ["shapes(train=5, size=32)", "shapes('panoptic', train=5, size=32)"])
def test_cached_batches_are_those_from_memory(spelled, tmp_path):
    examples = catalog.make(spelled, "data").open("train")
    task = catalog.make("panoptic()" if "panoptic" in spelled else "instance()", "tasks")
    augments = catalog.make_all("(flip(),)", "augments")
    options = {"batch": 2, "size": (40, 48), "shuffle": True, "augments": augments}
    kept = Batches(examples, task, memory=True, **options)
    cached = Batches(examples, task, memory=False, cache=str(tmp_path), **options)
    assert cached.in_memory
    assert list(tmp_path.iterdir()) == []  # nothing is left, whatever ends the process
    for one, other in zip(epochs(kept, 2), epochs(cached, 2), strict=True):
        assert torch.equal(one.images, other.images)
        for name in ("boxes", "labels", "masks", "semantic"):
            left, right = getattr(one.targets, name), getattr(other.targets, name)
            assert (left is right is None) or torch.equal(left, right)
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(tmp_path) in maps.read_text()


def test_shelves_fill_file_after_file_and_say_when_there_is_no_room(tmp_path, monkeypatch):
    monkeypatch.setattr("stalwart.feed.shelf.EXTENT", 5000)
    shelf, rng = Shelf(tmp_path), torch.Generator().manual_seed(0)
    values = [torch.rand(n, 50, generator=rng) < 0.5 for n in (30, 60, 45, 200)]
    kept = [shelf.keep(value) for value in values]
    assert all(torch.equal(a, b) for a, b in zip(kept, values, strict=True))
    assert kept[0].untyped_storage().data_ptr() != kept[1].untyped_storage().data_ptr()
    assert shelf.keep("a label") == "a label"
    with pytest.raises(InputError, match=r"cannot take a file of 1000000000\.00 GB"):
        shelf.room((10**9, 10**9))
    with pytest.raises(InputError, match="must be a folder"):
        Batches(toy(), TASK, batch=2, memory=False, cache=str(tmp_path / "none"))


def test_arrays_streamed_are_those_from_memory_also_at_another_size_and_in_grey():
    for options in ({}, {"size": (9, 9)}, {"channels": 1}):
        kept, streamed = (Batches(toy(), TASK, batch=5, memory=m, **options) for m in (True, False))
        assert_same(epochs(kept), epochs(streamed))
    assert next(iter(epochs(kept))).images.shape == (5, 1, 6, 5)


def test_batches_draw_nothing_from_torchs_global_generator(files):
    before = torch.get_rng_state()
    epochs(Batches(files, TASK, batch=4, size=(6, 6), shuffle=True, memory=False, augments=AUGMENTS))
    assert torch.equal(torch.get_rng_state(), before)


def test_what_a_sample_becomes_does_not_hang_on_its_batch():
    def by_index(batch: int):
        batches = Batches(toy(), TASK, batch=batch, shuffle=True, augments=AUGMENTS)
        return {i: image for b in batches.epoch(3) for i, image in zip(b.index.tolist(), b.images, strict=True)}

    few, many = by_index(2), by_index(23)
    assert all(torch.equal(few[i], many[i]) for i in range(23))


def test_augments_differ_by_epoch_and_by_place():
    crop = catalog.make("crop(2)", "augments")
    batches = Batches(toy(), TASK, batch=23, augments=(crop,))
    first, second = (next(batches.epoch(e)).images for e in (0, 1))
    assert not torch.equal(first, second)
    seen = []

    class Spy:
        def __call__(self, images, noise, epoch):
            seen.append(noise.keys.clone())
            return images

    next(Batches(toy(), TASK, batch=23, augments=(Spy(), Spy())).epoch(0))
    assert not torch.equal(seen[0], seen[1])


def test_small_sets_are_kept_in_memory_and_large_ones_streamed(files, monkeypatch):
    assert Batches(files, TASK, batch=4, size=(8, 8)).in_memory
    monkeypatch.setattr(module, "MEMORY_BYTES", 9 * 3 * 64 - 1)
    assert not Batches(files, TASK, batch=4, size=(8, 8)).in_memory
    monkeypatch.setattr(module, "MEMORY_BYTES", 9 * 3 * 64)
    assert Batches(files, TASK, batch=4, size=(8, 8)).in_memory


def test_images_of_other_sizes_are_named_where_no_size_is_given(files):
    with pytest.raises(DataError, match=r"1\.png: expected 8×12 pixels .* Got 9×11\. Give a size"):
        Batches(files, TASK, batch=4)
    with pytest.raises(DataError, match=r"1\.png: expected 8×12"):
        epochs(Batches(files, TASK, batch=4, memory=False))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_file_is_named(files, workers):
    bad = files._files[4]
    with open(bad, "wb") as file:
        file.write(b"no image")
    with pytest.raises(DataError, match=r"4\.png: expected an image"):
        Batches(files, TASK, batch=4, size=(8, 8))
    streamed = Batches(files, TASK, batch=4, size=(8, 8), memory=False, workers=workers)
    with pytest.raises(DataError, match=r"^[^\n]*4\.png: expected an image[^\n]*$"):
        epochs(streamed)


@pytest.mark.parametrize("bad", [0, 4, 8])
def test_bad_files_are_left_out_and_counted_where_asked(files, bad):
    open(files._files[bad], "wb").close()
    options = {"batch": 3, "size": (8, 8), "shuffle": True, "skip_bad": True, "augments": AUGMENTS}
    kept, streamed = (Batches(files, TASK, memory=m, **options) for m in (True, False))
    for batches in (kept, streamed):
        assert batches.count == 8
        assert len(batches) == 3
        assert len(batches.skipped) == 1
        assert f"{bad}.png" in batches.skipped[0]
    assert_same(epochs(kept, 2), epochs(streamed, 2))
    assert sorted(i for b in kept.epoch(0) for i in b.index.tolist()) == [i for i in range(9) if i != bad]
    assert all(b.targets.tolist() == (b.index % 2).tolist() for b in kept.epoch(0))


def test_no_file_that_can_be_read_is_an_error_all_the_same(files):
    for path in files._files:
        open(path, "wb").close()
    for size in (None, (8, 8)):
        with pytest.raises(DataError, match=r"expected images that can be read\. Got none among 9 files"):
            Batches(files, TASK, batch=3, skip_bad=True, size=size)


def test_workers_can_have_the_reader(files):
    reader = Batches(files, TASK, batch=4, size=(8, 8), memory=False)._reader
    again = pickle.loads(pickle.dumps(reader))
    assert torch.equal(again[[1, 2]][0], reader[[1, 2]][0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch must be >= 1"),
        ({"batch": 1, "workers": -1}, "workers must be >= 0"),
        ({"batch": 1, "world": 2, "rank": 2}, "rank must be >= 0 and < 2"),
        ({"batch": 1, "size": (0, 4)}, "size must be at least"),
        ({"batch": 1, "channels": 2}, "channels must be 1"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Batches(toy(), TASK, **options)
