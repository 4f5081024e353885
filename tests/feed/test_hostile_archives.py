# ruff: noqa: S301  (the real unpickler is the oracle here, and reads what these tests wrote)
import hashlib
import io
import os
import pickle
import struct
import tarfile
import urllib.error
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stalwart.core.errors import DataError
from stalwart.feed import fetch
from stalwart.feed.npz import read_npz
from stalwart.feed.pickles import read_pickle

ARRAY = np.arange(24, dtype=np.uint8).reshape(2, 12)
HELD = {"data": ARRAY, "labels": [1, 2], "names": ["a", "b"], "raw": b"\x00\xff", "n": 300, "none": None}

# ---------------------------------------------------------------- pickles


@pytest.mark.parametrize("protocol", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["u1", "<i8", ">f4"])
def test_pickles_of_arrays_and_plain_values_are_read(tmp_path, protocol, dtype):
    path = tmp_path / "p"
    held = HELD | {"data": ARRAY.astype(dtype), "turned": np.asfortranarray(ARRAY.astype(dtype))}
    path.write_bytes(pickle.dumps(held, protocol))
    got = read_pickle(path)
    assert list(got) == list(held)
    for name in ("data", "turned"):
        assert got[name].dtype == np.dtype(dtype)
        assert np.array_equal(got[name], held[name])
    assert {k: v for k, v in got.items() if k not in ("data", "turned")} == {
        k: v for k, v in HELD.items() if k != "data"
    }


def test_what_python_two_wrote_is_read(tmp_path):
    """The notation of the publisher's CIFAR-10 files: protocol 2, str as SHORT_BINSTRING and BINSTRING."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    raw = b"T" + struct.pack("<i", 24) + ARRAY.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        b"(K\x01K\x02K\x0c\x86cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
        b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + raw + b"tb"
    )
    program = b"\x80\x02}(" + text(b"data") + array + text(b"labels") + b"](K\x01K\x02eu."
    path = tmp_path / "p"
    path.write_bytes(program)
    expected = pickle.loads(program, encoding="bytes")
    got = read_pickle(path)
    assert np.array_equal(got["data"], expected[b"data"])
    assert got["labels"] == expected[b"labels"]


class Hostile:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def make_marker(path):
    open(path, "w").close()


@pytest.mark.parametrize("protocol", range(6))
def test_a_malicious_pickle_does_not_run(tmp_path, protocol):
    marker = tmp_path / "marker"
    calls = [(os.system, f"touch {marker}"), (eval, f"open({str(marker)!r}, 'w')"), (make_marker, str(marker))]
    for call in calls:
        path = tmp_path / "p"
        path.write_bytes(pickle.dumps({"data": Hostile(*call)}, protocol))
        with pytest.raises(DataError, match="p: expected NumPy arrays and plain values alone"):
            read_pickle(path)
        assert not marker.exists()
        pickle.loads(path.read_bytes())
        assert marker.exists()  # the file would have run
        marker.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02cnumpy\nload\n.",
        b"\x80\x02cbuiltins\neval\n(X\x01\x00\x00\x001tR.",
        b"\x80\x02(X\x02\x00\x00\x00osX\x06\x00\x00\x00systemtR.",  # a call of a tuple
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",
        b"\x80\x02ccopyreg\n_reconstructor\n.",
        b"\x80\x02}X\x01\x00\x00\x00aK\x01s}b.",  # a state for a dict
        b"(ios\nsystem\n.",
        b"(cos\nsystem\no.",
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b"x.",  # a bytearray of a terabyte
        b"\x80\x02\x8a\xff" + b"\x01" * 255 + b".",
        b"\x80\x02r\xff\xff\xff\xff.",  # a memo of four thousand million entries
        b"\x80\x02cnumpy\nndarray\n(J\xff\xff\xff\x7f\x85tR.",
        b"",
        b".",
        b"\x80\x02](K\x01e.",  # a list
    ],
)
def test_other_programs_are_refused(tmp_path, program):
    path = tmp_path / "p"
    path.write_bytes(program)
    with pytest.raises(DataError, match="p: expected"):
        read_pickle(path)


def test_arrays_of_objects_and_false_shapes_are_refused(tmp_path):
    path = tmp_path / "p"
    path.write_bytes(pickle.dumps({"data": np.array([None, 1], dtype=object)}, 2))
    with pytest.raises(DataError, match="dtype 'O"):
        read_pickle(path)
    program = pickle.dumps({"data": ARRAY}, 2)
    path.write_bytes(program.replace(b"K\x02K\x0c\x86", b"K\x02K\x0d\x86"))
    with pytest.raises(DataError, match=r"shape \(2, 13\) in 24 bytes"):
        read_pickle(path)


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_noise_is_no_pickle(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("noise") / "p"
    path.write_bytes(data)
    with pytest.raises(DataError, match="p: expected"):
        read_pickle(path)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_damaged_pickles_are_read_or_refused(tmp_path_factory, damage):
    data = bytearray(pickle.dumps(HELD, 2))
    for place, value in damage:
        data[place % len(data)] = value
    path = tmp_path_factory.mktemp("damaged") / "p"
    path.write_bytes(data)
    try:
        assert isinstance(read_pickle(path), dict)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017


def test_large_and_missing_pickles_are_refused(tmp_path):
    path = tmp_path / "p"
    path.write_bytes(pickle.dumps(HELD))
    with pytest.raises(DataError, match="p: expected at most 10 bytes"):
        read_pickle(path, 10)
    with pytest.raises(DataError, match=r"nowhere: expected a file\. Got no such file"):
        read_pickle(tmp_path / "nowhere")


# ---------------------------------------------------------------- npz


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def archive(path, members: dict[str, bytes]):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in members.items():
            out.writestr(name, data)
    return path


def test_npz_arrays_are_what_numpy_wrote(tmp_path):
    path = tmp_path / "x.npz"
    arrays = {"a": ARRAY, "b": np.asfortranarray(ARRAY.astype(np.float64)), "c": np.zeros((0, 3), np.int32)}
    for save in (np.savez, np.savez_compressed):
        save(path, **arrays, other=ARRAY)
        got = read_npz(path, ["a", "b", "c", "absent"])
        assert list(got) == ["a", "b", "c"]
        for name, array in arrays.items():
            assert got[name].dtype == array.dtype
            assert np.array_equal(got[name], array)


def test_npz_objects_are_refused_and_do_not_run(tmp_path):
    marker = tmp_path / "marker"
    path = tmp_path / "x.npz"
    np.savez(path, a=np.array([Hostile(make_marker, str(marker))], dtype=object))
    with pytest.raises(DataError, match=r"x\.npz, array 'a': expected numbers\. Got object"):
        read_npz(path, ["a"])
    assert not marker.exists()


def test_npz_bombs_are_refused_by_their_claim(tmp_path):
    path = archive(tmp_path / "x.npz", {"a.npy": b"\0" * 5_000_000})
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match=r"x\.npz: expected at most 1,000,000 bytes of arrays\. Got 5,000,000"):
        read_npz(path, ["a"], max_bytes=1_000_000)


def test_npz_headers_that_claim_more_than_there_is_are_refused(tmp_path):
    claim = "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000,)}\n"
    path = archive(tmp_path / "x.npz", {"a.npy": npy(claim, b"abc")})
    with pytest.raises(DataError, match=r"expected 1,000,000,000,000 bytes .* Got 3"):
        read_npz(path, ["a"])


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, -3)}\n",
        "{'descr': [('x', 'u1')], 'fortran_order': False, 'shape': (3,)}\n",
        "{'descr': '|S1', 'fortran_order': False, 'shape': (3,)}\n",
        "__import__('os').system('true')\n",
        "{}\n",
    ],
)
def test_npz_with_odd_headers_is_refused(tmp_path, header):
    path = archive(tmp_path / "x.npz", {"a.npy": npy(header, b"abc")})
    with pytest.raises(DataError, match=r"x\.npz"):
        read_npz(path, ["a"])


def test_damaged_npz_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8))
    whole = path.read_bytes()
    for data in (b"", b"hello", whole[:-30], whole[:2000] + b"\0\0\0\0" + whole[2004:]):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"x\.npz"):
            read_npz(path, ["a"])
    with pytest.raises(DataError, match=r"nowhere\.npz: expected an \.npz file\. Got no such file"):
        read_npz(tmp_path / "nowhere.npz", ["a"])


# ---------------------------------------------------------------- fetching

URL = "https://example.org/set.tar.gz"


def tar(members: dict[str, bytes], *links: tuple[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as out:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
        for name, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            out.addfile(info)
    return buffer.getvalue()


class Answer(io.BytesIO):
    url = URL

    def geturl(self):
        return self.url


def fetch_from(monkeypatch, data: bytes, root, url: str = URL, **options):
    answer = Answer(data)
    answer.url = url
    monkeypatch.setattr(fetch.urllib.request, "urlopen", lambda *_, **__: answer)
    settings = {"md5": hashlib.md5(data).hexdigest(), "size": len(data), "names": ("a", "b"), "max_bytes": 100}
    settings |= options
    fetch.fetch_tar(URL, root=root, inside="set", **settings)


def test_fetching_puts_the_wanted_files_there_and_nothing_else(tmp_path, monkeypatch):
    data = tar({"set/a": b"1", "set/b": b"22", "set/c": b"3", "../evil": b"4", "/set/a": b"5", "other/a": b"6"})
    root = tmp_path / "deep" / "root"
    fetch_from(monkeypatch, data, root)
    found = {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {"deep/root/set/a": b"1", "deep/root/set/b": b"22"}


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (tar({"set/a": b"1", "set/b": b"2"}), {"md5": "0" * 32}, "expected an archive of md5 0000"),
        (tar({"set/a": b"1"}), {}, "expected 'b' in the archive"),
        (tar({"set/a": b"1", "set/b": b"2" * 101}), {}, "at most 100 bytes"),
        (tar({"set/a": b"1"}, ("set/b", "/etc/passwd")), {}, "at most 100 bytes"),
        (b"no archive", {}, "damaged one"),
        (tar({"set/a": b"1", "set/b": b"2"}), {"size": 20}, "expected an archive of md5"),
        (tar({"set/a": b"1", "set/b": b"2"}), {"url": "http://example.org/x"}, "https address all the way"),
    ],
    # gzip writes the time into an archive: without names of their own, every process would name these tests otherwise.
    ids=["md5", "missing-file", "large-file", "link", "no-archive", "large-download", "http"],
)
def test_fetching_leaves_nothing_behind_where_it_fails(tmp_path, monkeypatch, data, options, message):
    with pytest.raises(DataError, match=message):
        fetch_from(monkeypatch, data, tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_fetching_without_a_network_says_what_to_do(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(fetch.urllib.request, "urlopen", offline)
    with pytest.raises(DataError, match=r"Got Name or service not known\. Fetch https:.* by hand"):
        fetch.fetch_tar(URL, "", 1, tmp_path, "set", ("a",), 1)
