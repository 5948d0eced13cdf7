"""Reads a torch or npz archive with Python's own zipfile and pickle, the latter allowed what torch.load(weights_only=True) allows.

Prints {name: [dtype, shape, sha256 of the bytes, offset of the data in the file]} as JSON.
"""
import ast
import collections
import hashlib
import json
import pickle
import struct
import sys
import zipfile

STORAGES = {"Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1, "Bool": 1, "ComplexFloat": 8, "Untyped": 1}
UNTYPED = ["uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float8_e4m3fnuz", "float8_e5m2fnuz"]


class Storage:
    def __init__(self, kind, key, count):
        self.kind, self.key, self.count = kind, key, count


def rebuild(storage, offset, size, stride, requires_grad, hooks):
    expected, strides = 1, []
    for dim in reversed(size):
        strides.insert(0, expected)
        expected *= max(dim, 1)
    assert tuple(strides) == stride and offset == 0 and requires_grad is False and hooks == {}
    return storage, list(size)


def rebuild_v3(storage, offset, size, stride, requires_grad, hooks, dtype):
    storage, shape = rebuild(storage, offset, size, stride, requires_grad, hooks)
    storage.kind = dtype
    return storage, shape


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return rebuild
        if (module, name) == ("torch._utils", "_rebuild_tensor_v3"):
            return rebuild_v3
        if (module, name) == ("torch.storage", "UntypedStorage"):
            return "Untyped"
        if module == "torch" and name in UNTYPED:
            return name
        if module == "torch" and name.endswith("Storage") and name[:-7] in STORAGES:
            return name[:-7]
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")

    def persistent_load(self, saved):
        tag, kind, key, location, count = saved
        assert tag == "storage" and location == "cpu"
        return Storage(kind, key, count)


def data_offset(archive, name):
    info = archive.getinfo(name)
    archive.fp.seek(info.header_offset + 26)
    name_length, extra_length = struct.unpack("<HH", archive.fp.read(4))
    return info.header_offset + 30 + name_length + extra_length


def torch_tensors(archive):
    assert archive.read("archive/byteorder") == b"little" and archive.read("archive/version") == b"3\n"
    with archive.open("archive/data.pkl") as stream:
        state = Unpickler(stream).load()
    assert type(state) is collections.OrderedDict
    for name, (storage, shape) in state.items():
        entry = f"archive/data/{storage.key}"
        data = archive.read(entry)
        assert len(data) == storage.count * STORAGES.get(storage.kind, 1)
        yield name, storage.kind, shape, data, data_offset(archive, entry)


def npz_tensors(archive):
    for entry in archive.namelist():
        data = archive.read(entry)
        assert data[:8] == b"\x93NUMPY\x01\x00"
        (length,) = struct.unpack("<H", data[8:10])
        header = ast.literal_eval(data[10 : 10 + length].decode("latin1"))
        assert header["fortran_order"] is False and (10 + length) % 64 == 0
        yield entry[: -len(".npy")], header["descr"], list(header["shape"]), data[10 + length :], data_offset(archive, entry) + 10 + length


with zipfile.ZipFile(sys.argv[1]) as archive:
    assert archive.testzip() is None
    read = torch_tensors if "archive/data.pkl" in archive.namelist() else npz_tensors
    print(json.dumps({name: [kind, shape, hashlib.sha256(data).hexdigest(), at] for name, kind, shape, data, at in read(archive)}))
