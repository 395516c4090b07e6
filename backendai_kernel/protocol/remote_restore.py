# Runs here, and inside the session's interpreter from Python 3.8 on, where it is sent as text.
#
# The other way round of ``remote_values.py``: from plain data to the value. Nothing is unpickled.
import base64
import datetime
import decimal
import io


def restore(told):
    if not isinstance(told, dict):
        return told
    [(tag, content)] = told.items()
    return _FORMS[tag](content)


def _items(content):
    return [restore(item) for item in content]


def _npy(text):
    import numpy

    return numpy.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)


def _column(told):
    import pandas

    if "npy" in told:
        return pandas.Series(_npy(told["npy"]))
    items = pandas.Series(_items(told["items"]), dtype="object")
    if told["dtype"] == "object":
        return items
    if told["dtype"] == "category":
        return items.astype("category")
    return pandas.Series(list(items), dtype=told["dtype"])


def _index(told):
    import pandas

    if "range" in told:
        return pandas.RangeIndex(*told["range"], name=restore(told["name"]))
    if "levels" in told:
        levels = [_column(each) for each in told["levels"]]
        return pandas.MultiIndex.from_arrays(levels, names=_items(told["names"]))
    return pandas.Index(_column(told["column"]), name=restore(told["name"]))


def _frame(content):
    import pandas

    names, columns, index, name = content
    frame = pandas.DataFrame({i: _column(each) for i, each in enumerate(columns)})
    labels = _index(index)
    frame = frame.set_axis(labels, axis=0) if columns else pandas.DataFrame(index=labels)
    restored = _items(names)
    if not restored:
        return frame
    if all(isinstance(label, tuple) for label in restored):
        frame.columns = pandas.MultiIndex.from_tuples(restored)
    else:
        frame.columns = pandas.Index(restored, name=restore(name))
    return frame


def _series(content):
    column, index, name = content
    return _column(column).set_axis(_index(index)).rename(restore(name))


def _timestamp(text):
    import pandas

    return pandas.Timestamp(text)


def _missing(name):
    import pandas

    return {"NaT": pandas.NaT, "NA": pandas.NA}[name]


_FORMS = {
    "list": _items,
    "tuple": lambda content: tuple(_items(content)),
    "set": lambda content: set(_items(content)),
    "frozenset": lambda content: frozenset(_items(content)),
    "dict": lambda content: {restore(key): restore(value) for key, value in content},
    "bytes": base64.b64decode,
    "bytearray": lambda content: bytearray(base64.b64decode(content)),
    "complex": lambda content: complex(*content),
    "datetime": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
    "timedelta": lambda content: datetime.timedelta(*content),
    "Decimal": decimal.Decimal,
    "scalar": lambda content: _npy(content)[()],
    "array": _npy,
    "DataFrame": _frame,
    "Series": _series,
    "Timestamp": _timestamp,
    "missing": _missing,
}


def put(shell, key, name, digest, pickled):
    import hashlib
    import json
    import sys
    import zlib

    parts = sys.modules.pop(key).parts
    text = "".join(parts)
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        raise ValueError("the value did not arrive as it was sent")
    value = restore(json.loads(zlib.decompress(base64.b64decode(text)).decode()))
    if pickled:
        import pickle

        value = pickle.loads(value)
    shell.user_ns[name] = value
