# Runs here, and inside the session's interpreter from Python 3.8 on, where it is sent as text.
#
# Packs variables into one file as plain data: first what is large, as bytes (.npy of an array,
# an Arrow stream of a column), then JSON with a tagged list for what it has no form for, then the
# length of the JSON. Nothing is pickled unless that is asked for. Arrays and columns go through in
# parts, so packing takes little memory.
import base64
import datetime
import decimal
import json
import struct

MIME = "application/vnd.backendai.value+json"
PART = 3 * 2**20  # bytes in one message
INLINE = 2**16  # text and bytes from this size on go beside the JSON
ROWS = 2**16  # rows of a column in one batch of Arrow's

_JSON = (bool, int, float, str, type(None))


class NotPlain(Exception):
    pass


def pack(file, values, arrow=False, pickled=False):
    packer = Packer(file, arrow)
    told = {}
    for name, value in values.items():
        try:
            told[name] = packer.pickle(value) if pickled else packer.form(value)
        except RecursionError:
            raise NotPlain(name, "it is nested too deeply, or in itself") from None
        except NotPlain as exc:
            raise NotPlain(name, exc.args[-1]) from exc
    text = json.dumps(told).encode()
    file.write(text)
    file.write(struct.pack("<Q", len(text)))


class Writes(object):
    # All that numpy, pyarrow and pickle need of a file, so that they hand out part after part.
    closed = False

    def __init__(self, file):
        self.write = file.write

    def flush(self):
        pass


class Packer(object):
    def __init__(self, file, arrow=False):
        self.file = file
        self.arrow = arrow  # pyarrow is there on the other side, too

    def blob(self, write):
        start = self.file.tell()
        write(Writes(self.file))
        return [start, self.file.tell() - start]

    def pickle(self, value):
        import pickle

        try:
            return {"pickle": self.blob(lambda file: pickle.dump(value, file, protocol=4))}
        except (pickle.PicklingError, TypeError, AttributeError) as exc:
            raise NotPlain("it cannot be pickled: %s" % exc) from exc

    def form(self, value, where="it"):
        kind = type(value)
        if kind is str and len(value) >= INLINE:
            data = value.encode("utf-8", "surrogatepass")
            return {"text": self.blob(lambda file: file.write(data))}
        if kind in _JSON:
            return value
        if kind is list:
            if set(map(type, value)) <= set(_JSON) and sum(map(_weight, value)) < 2**20:
                return {"plain": value}
            return {"list": [self.form(item, "an item") for item in value]}
        if kind in (tuple, set, frozenset):
            return {kind.__name__: [self.form(item, "an item") for item in value]}
        if kind is dict:
            pairs = [
                [self.form(key, "a key"), self.form(item, "an item")] for key, item in value.items()
            ]
            return {"dict": pairs}
        if kind in (bytes, bytearray):
            if len(value) >= INLINE:
                return {kind.__name__ + "_at": self.blob(lambda file: file.write(value))}
            return {kind.__name__: base64.b64encode(bytes(value)).decode()}
        if kind is complex:
            return {"complex": [value.real, value.imag]}
        if kind in (datetime.datetime, datetime.date, datetime.time):
            return {kind.__name__: value.isoformat()}
        if kind is datetime.timedelta:
            return {"timedelta": [value.days, value.seconds, value.microseconds]}
        if kind is decimal.Decimal:
            return {"Decimal": str(value)}
        return self.foreign(value, where)

    def foreign(self, value, where):
        kind = type(value)
        library = kind.__module__.partition(".")[0]
        found = getattr(self, "of_" + library, lambda value, kind: None)(value, kind)
        if found is not None:
            return found
        name = kind.__name__
        if kind.__module__ != "builtins":
            name = "%s.%s" % (kind.__module__, name)
        raise NotPlain("%s is a %s" % (where, name))

    def of_numpy(self, value, kind):
        import numpy

        if isinstance(value, numpy.generic) and not isinstance(value, numpy.void):
            return {"scalar": self.npy(numpy.asarray(value))}
        if kind is numpy.ndarray and not value.dtype.hasobject:
            return {"array": self.npy(value)}
        return None

    def of_pandas(self, value, kind):
        import pandas

        if kind is pandas.DataFrame:
            columns = [self.column(value.iloc[:, i]) for i in range(value.shape[1])]
            return {"DataFrame": [columns, self.index(value.index), self.index(value.columns)]}
        if kind is pandas.Series:
            return {"Series": [self.column(value), self.index(value.index), self.form(value.name)]}
        if isinstance(value, pandas.Index):
            return {"Index": self.index(value)}
        if kind is pandas.Timestamp:
            return {"Timestamp": value.isoformat()}
        if kind is pandas.Timedelta:
            return {"Timedelta": value.isoformat()}
        if value is pandas.NaT or value is pandas.NA:
            return {"missing": "NaT" if value is pandas.NaT else "NA"}
        return None

    def of_pyarrow(self, value, kind):
        import pyarrow

        if kind is pyarrow.RecordBatch:
            return {"batch": self.stream(value.schema, [value])}
        if kind is pyarrow.Table:
            return {"table": self.stream(value.schema, value.to_batches(max_chunksize=ROWS))}
        return None

    def of_polars(self, value, kind):
        import polars

        if kind is polars.Series:
            return {"polars_series": [self.polars(value.to_frame()), value.name]}
        if kind is polars.DataFrame:
            return {"polars": self.polars(value)}
        return None

    def polars(self, frame):
        try:
            return self.blob(frame.write_ipc_stream)
        except Exception as exc:  # polars has errors of its own, one a version
            raise NotPlain("polars cannot write it: %s" % exc) from exc

    def npy(self, array):
        import numpy

        return self.blob(lambda file: numpy.save(file, array, allow_pickle=False))

    def stream(self, schema, batches):
        import pyarrow

        def write(file):
            writer = pyarrow.RecordBatchStreamWriter(pyarrow.PythonFile(file, mode="w"), schema)
            for batch in batches:
                writer.write_batch(batch)
            writer.close()

        return self.blob(write)

    # -- columns of pandas: the array, and what it takes to make the same of it again

    def column(self, series):
        import numpy

        kind = series.dtype
        if isinstance(kind, numpy.dtype):
            if not kind.hasobject:
                return {"npy": self.npy(series.to_numpy())}
            return self.objects(series)
        name = type(kind).__name__
        if name == "CategoricalDtype":
            codes = series.cat.codes.to_numpy()
            return {
                "codes": self.npy(codes),
                "categories": self.index(kind.categories),
                "ordered": bool(kind.ordered),
            }
        if name == "DatetimeTZDtype":
            naive = series.dt.tz_convert("UTC").dt.tz_localize(None)
            return {"utc": self.npy(naive.to_numpy()), "dtype": str(kind)}
        if name == "StringDtype":
            storage = str(getattr(kind, "storage", "python"))
            missing = "nan" if isinstance(getattr(kind, "na_value", None), float) else "NA"
            objects = series.astype("object")
            objects = objects.where(~series.isna(), None)
            return {"string": self.objects(objects), "storage": storage, "missing": missing}
        if name == "ArrowDtype" and self.arrow:
            import pyarrow

            array = pyarrow.array(series, from_pandas=True)
            chunks = array.chunks if isinstance(array, pyarrow.ChunkedArray) else [array]
            field = pyarrow.field("", array.type)
            return {"arrow": self.arrays(field, chunks)}
        if hasattr(kind, "numpy_dtype") and name != "ArrowDtype":  # Int64, boolean, Float32, ...
            missing = series.isna().to_numpy()
            values = series.array.copy()
            values[missing] = kind.type(0)
            plain = values.to_numpy(dtype=kind.numpy_dtype)
            return {"values": self.npy(plain), "missing": self.npy(missing), "dtype": str(kind)}
        if name in ("PeriodDtype", "IntervalDtype", "SparseDtype", "ArrowDtype"):
            raise NotPlain("a column is of the type %s" % kind)
        return {"dtype": str(kind), "items": [self.cell(item) for item in series]}

    def cell(self, item):
        return self.form(item, "a cell of the table")

    def objects(self, series):
        import pandas

        values = series.to_numpy()
        kinds = set(map(type, values))
        missing = "None" if type(None) in kinds else ""
        if kinds <= {str, float, type(None)} and float in kinds and str in kinds:
            gaps = pandas.isna(values)
            if missing == "" and gaps.sum() == sum(type(item) is float for item in values):
                missing, kinds = "nan", kinds - {float}
        for kind, arrow_kind in ((str, "large_utf8"), (bytes, "large_binary")):
            if self.arrow and kind in kinds and kinds <= {kind, type(None)}:
                try:
                    return {"arrow_objects": self.arrow_objects(values, arrow_kind), "gap": missing}
                except UnicodeEncodeError:
                    break  # lone surrogates: JSON has a form for them
        if kinds <= set(_JSON):
            # Cell by cell would be slow; NaN and infinities have a form in Python's JSON.
            text = json.dumps(values.tolist()).encode()
            return {"json": self.blob(lambda file: file.write(text))}
        return {"dtype": "object", "items": [self.cell(item) for item in values]}

    def arrow_objects(self, values, kind):
        import pyarrow

        field = pyarrow.field("", getattr(pyarrow, kind)())
        arrays = (
            pyarrow.array(values[start : start + ROWS], type=field.type, from_pandas=True)
            for start in range(0, len(values), ROWS)
        )
        return self.arrays(field, arrays)

    def arrays(self, field, arrays):
        import pyarrow

        schema = pyarrow.schema([field])
        batches = (pyarrow.RecordBatch.from_arrays([array], schema=schema) for array in arrays)
        return self.stream(schema, batches)

    def index(self, labels):
        import pandas

        if type(labels) is pandas.RangeIndex:
            return {
                "range": [labels.start, labels.stop, labels.step],
                "name": self.form(labels.name),
            }
        if isinstance(labels, pandas.MultiIndex):
            return {
                "levels": [self.index(level) for level in labels.levels],
                "codes": [self.npy(pandas.Series(codes).to_numpy()) for codes in labels.codes],
                "names": [self.form(name) for name in labels.names],
            }
        column = self.column(pandas.Series(labels, dtype=labels.dtype))
        freq = getattr(labels, "freqstr", None)
        return {"column": column, "name": self.form(labels.name), "freq": freq}


def _weight(item):
    return len(item) if type(item) is str else 8


# -- only inside the session


def gather(shell, key, names, arrow, pickled):
    # Packs variables into a file without a name, so that nothing is left of it whatever happens.
    import hashlib
    import sys
    import tempfile
    import types

    def part(start):
        file.seek(start)
        _publish({"at": start, "part": base64.b64encode(file.read(PART)).decode()})

    missing = [name for name in names if name not in shell.user_ns]
    if missing:
        return _publish({"missing": missing[0]})
    file = tempfile.TemporaryFile()
    try:
        pack(file, {name: shell.user_ns[name] for name in names}, arrow, pickled)
        size = file.tell()
        file.seek(0)
        digest = hashlib.sha256()
        for data in iter(lambda: file.read(2**20), b""):
            digest.update(data)
    except NotPlain as exc:
        return _publish({"refused": list(exc.args)})
    except OSError as exc:
        why = "the session has no room for it in %s: %s" % (tempfile.gettempdir(), exc.strerror)
        return _publish({"refused": [names[0], why]})
    _publish({"size": size, "sha256": digest.hexdigest()})
    if size <= PART:
        return part(0)
    module = sys.modules[key] = types.ModuleType(key)
    module.part = part


def _publish(answer):
    from IPython.display import publish_display_data

    publish_display_data({MIME: answer})
