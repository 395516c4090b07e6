# Runs here, and inside the session's interpreter from Python 3.8 on, where it is sent as text.
#
# The other way round of ``remote_values.py``: from a file of plain data to the values. Nothing is
# unpickled unless that is asked for.
import base64
import datetime
import decimal
import io
import json
import os
import struct


def unpack(file, size, pickled=False):
    file.seek(size - 8)
    (length,) = struct.unpack("<Q", file.read(8))
    file.seek(size - 8 - length)
    told = json.loads(file.read(length).decode())
    opened = Unpacker(file, pickled)
    return {name: opened.restore(form) for name, form in told.items()}


class Window(io.RawIOBase):
    # A part of a file, as a file.
    def __init__(self, file, start, size):
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self._at

    def seek(self, offset, whence=0):
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, buffer):
        self._file.seek(self._start + self._at)
        data = self._file.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class Unpacker(object):
    def __init__(self, file, pickled=False):
        self._file = file
        self._pickled = pickled

    def restore(self, told):
        if not isinstance(told, dict):
            return told
        [(tag, content)] = told.items()
        if tag in _SIMPLE:
            return _SIMPLE[tag](content)
        return _FORMS[tag](self, content)

    def window(self, place):
        start, size = place
        return io.BufferedReader(Window(self._file, start, size), 2**20)

    def data(self, place):
        start, size = place
        self._file.seek(start)
        return self._file.read(size)

    def items(self, content):
        return [self.restore(item) for item in content]

    def pairs(self, content):
        return {self.restore(key): self.restore(value) for key, value in content}

    def text(self, place):
        return self.data(place).decode("utf-8", "surrogatepass")

    def pickle(self, place):
        if not self._pickled:
            raise ValueError("a pickle came, and none was asked for")
        import pickle

        return pickle.load(self.window(place))

    def npy(self, place):
        import numpy

        return numpy.load(self.window(place), allow_pickle=False)

    def table(self, place):
        import pyarrow

        return pyarrow.ipc.open_stream(self.window(place)).read_all()

    def batch(self, place):
        import pyarrow

        return pyarrow.ipc.open_stream(self.window(place)).read_next_batch()

    def polars(self, place):
        import polars

        return polars.read_ipc_stream(self.window(place))

    def polars_series(self, content):
        place, name = content
        return self.polars(place).to_series().rename(name)

    def column(self, told):
        import pandas

        if "npy" in told:
            return pandas.Series(self.npy(told["npy"]), copy=False)
        if "arrow_objects" in told or "json" in told:
            return pandas.Series(self.objects(told), dtype="object")
        if "codes" in told:
            categories = self.index(told["categories"])
            kind = pandas.CategoricalDtype(categories, told["ordered"])
            return pandas.Series(pandas.Categorical.from_codes(self.npy(told["codes"]), dtype=kind))
        if "utc" in told:
            naive = pandas.Series(self.npy(told["utc"]))
            return naive.dt.tz_localize("UTC").astype(told["dtype"])
        if "string" in told:
            return self.strings(told)
        if "arrow" in told:
            column = self.table(told["arrow"]).column(0)
            return pandas.Series(pandas.arrays.ArrowExtensionArray(column))
        if "values" in told:
            values = pandas.array(self.npy(told["values"]), dtype=told["dtype"])
            values[self.npy(told["missing"])] = pandas.NA
            return pandas.Series(values)
        items = pandas.Series(self.items(told["items"]), dtype="object")
        return (
            items if told["dtype"] == "object" else pandas.Series(list(items), dtype=told["dtype"])
        )

    def objects(self, told):
        import numpy

        if "items" in told:
            values = self.items(told["items"])
        elif "json" in told:
            values = json.loads(self.data(told["json"]).decode())
        else:
            found = self.table(told["arrow_objects"]).column(0).to_numpy()
            if told["gap"] == "nan":
                found[numpy.equal(found, None)] = float("nan")
            return found
        array = numpy.empty(len(values), dtype=object)
        array[:] = values
        return array

    def strings(self, told):
        import numpy
        import pandas

        values = self.objects(told["string"])
        missing = {"NA": pandas.NA, "nan": numpy.nan}[told["missing"]]
        for storage in (told["storage"], "python"):  # the other side may have other libraries
            try:
                kind = pandas.StringDtype(storage, na_value=missing)
                return pandas.Series(pandas.array(values, dtype=kind))
            except (ImportError, ValueError):
                continue
            except TypeError:  # before pandas 2.3
                return pandas.Series(values, dtype="string" if missing is pandas.NA else "object")
        return pandas.Series(values, dtype="object")

    def index(self, told):
        import pandas

        if "range" in told:
            return pandas.RangeIndex(*told["range"], name=self.restore(told["name"]))
        if "levels" in told:
            return pandas.MultiIndex(
                levels=[self.index(level) for level in told["levels"]],
                codes=[self.npy(codes) for codes in told["codes"]],
                names=self.items(told["names"]),
            )
        column = self.column(told["column"])
        # pandas 1 makes 64-bit numbers of short ones; a dtype that is told is kept by the others.
        labels = pandas.Index(column, dtype=column.dtype, name=self.restore(told["name"]))
        if told["freq"]:
            labels.freq = told["freq"]
        return labels

    def frame(self, content):
        import pandas

        columns, labels, names = content
        made = {i: self.column(each) for i, each in enumerate(columns)}
        index = self.index(labels)
        for each in made.values():
            each.index = index
        frame = pandas.DataFrame(made, index=index, copy=False)
        frame.columns = self.index(names)
        return frame

    def series(self, content):
        column, index, name = content
        series = self.column(column)
        series.index = self.index(index)
        series.name = self.restore(name)
        return series


def _timestamp(text):
    import pandas

    return pandas.Timestamp(text)


def _timedelta(text):
    import pandas

    return pandas.Timedelta(text)


def _missing(name):
    import pandas

    return {"NaT": pandas.NaT, "NA": pandas.NA}[name]


_SIMPLE = {
    "plain": list,
    "bytes": base64.b64decode,
    "bytearray": lambda content: bytearray(base64.b64decode(content)),
    "complex": lambda content: complex(*content),
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
    "timedelta": lambda content: datetime.timedelta(*content),
    "Decimal": decimal.Decimal,
    "Timestamp": _timestamp,
    "Timedelta": _timedelta,
    "missing": _missing,
}
_FORMS = {
    "list": Unpacker.items,
    "tuple": lambda self, content: tuple(self.items(content)),
    "set": lambda self, content: set(self.items(content)),
    "frozenset": lambda self, content: frozenset(self.items(content)),
    "dict": Unpacker.pairs,
    "text": Unpacker.text,
    "bytes_at": Unpacker.data,
    "bytearray_at": lambda self, place: bytearray(self.data(place)),
    "pickle": Unpacker.pickle,
    "scalar": lambda self, place: self.npy(place)[()],
    "array": Unpacker.npy,
    "DataFrame": Unpacker.frame,
    "Series": Unpacker.series,
    "Index": Unpacker.index,
    "table": Unpacker.table,
    "batch": Unpacker.batch,
    "polars": Unpacker.polars,
    "polars_series": Unpacker.polars_series,
}


# -- only inside the session


def begin(folder):
    # Tells what there is to know before a value is packed, and makes the folder for its pieces.
    import importlib.util
    import shutil

    from IPython.display import publish_display_data

    home = os.path.expanduser("~")
    if folder:
        os.makedirs(os.path.join(home, folder), mode=0o777)
    answer = {
        "arrow": importlib.util.find_spec("pyarrow") is not None,
        "free": shutil.disk_usage(home).free,
    }
    publish_display_data({"application/vnd.backendai.value+json": answer})


def put(shell, source, size, digest, pickled):
    # *source* is the packed values themselves, or the folder and the number of their pieces.
    with _opened(source) as file:
        if _digest(file) != (size, digest):
            raise ValueError("what came is not what was sent")
        shell.user_ns.update(unpack(file, size, pickled))


def _opened(source):
    import shutil
    import tempfile

    if isinstance(source, bytes):
        return io.BytesIO(source)
    folder, count = source
    folder = os.path.join(os.path.expanduser("~"), folder)
    file = tempfile.TemporaryFile(dir=folder)  # a real file is read in place, and has no name
    for number in range(count):
        piece = os.path.join(folder, str(number))
        with open(piece, "rb") as opened:
            shutil.copyfileobj(opened, file)
        os.remove(piece)
    return file


def _digest(file):
    import hashlib

    digest, size = hashlib.sha256(), 0
    file.seek(0)
    for data in iter(lambda: file.read(2**20), b""):
        digest.update(data)
        size += len(data)
    return size, digest.hexdigest()
