# Runs inside the session's interpreter, from Python 3.8 on; sent as text, never imported here.
#
# Publishes one variable as plain data: JSON, with a tagged list for what JSON has no form for, and
# the bytes of .npy files for arrays and the columns of a table. Nothing is pickled.
import base64
import datetime
import decimal
import io
import json

MIME = "application/vnd.backendai.value+json"
LIMIT = 256 * 1024 * 1024  # characters of JSON


class NotPlain(Exception):
    pass


def form(value, where="it"):
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is list:
        return {"list": [form(item, "an item") for item in value]}
    if kind in (tuple, set, frozenset):
        return {kind.__name__: [form(item, "an item") for item in value]}
    if kind is dict:
        pairs = [[form(key, "a key"), form(item, "an item")] for key, item in value.items()]
        return {"dict": pairs}
    if kind in (bytes, bytearray):
        return {kind.__name__: base64.b64encode(bytes(value)).decode()}
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    if kind in (datetime.datetime, datetime.date, datetime.time):
        return {kind.__name__: value.isoformat()}
    if kind is datetime.timedelta:
        return {"timedelta": [value.days, value.seconds, value.microseconds]}
    if kind is decimal.Decimal:
        return {"Decimal": str(value)}
    return foreign(value, where)


def foreign(value, where):
    kind = type(value)
    library = kind.__module__.partition(".")[0]
    if library == "numpy":
        import numpy

        if isinstance(value, numpy.generic) and not isinstance(value, numpy.void):
            return {"scalar": npy(numpy.asarray(value))}
        if kind is numpy.ndarray and not value.dtype.hasobject:
            return {"array": npy(value)}
    if library == "pandas":
        import pandas

        if kind is pandas.DataFrame:
            columns = [column(value.iloc[:, i]) for i in range(value.shape[1])]
            return {
                "DataFrame": [
                    [form(name, "a column's name") for name in value.columns],
                    columns,
                    index(value.index),
                    form(value.columns.name),
                ]
            }
        if kind is pandas.Series:
            return {"Series": [column(value), index(value.index), form(value.name)]}
        if kind is pandas.Timestamp:
            return {"Timestamp": value.isoformat()}
        if value is pandas.NaT or value is pandas.NA:
            return {"missing": "NaT" if value is pandas.NaT else "NA"}
    name = (
        kind.__name__
        if kind.__module__ == "builtins"
        else "%s.%s"
        % (
            kind.__module__,
            kind.__name__,
        )
    )
    raise NotPlain("%s is a %s" % (where, name))


def npy(array):
    import numpy

    file = io.BytesIO()
    numpy.save(file, array, allow_pickle=False)
    return base64.b64encode(file.getvalue()).decode()


def column(series):
    import numpy

    kind = series.dtype
    if isinstance(kind, numpy.dtype) and not kind.hasobject:
        return {"npy": npy(series.to_numpy())}
    return {"dtype": str(kind), "items": [form(item, "a cell of the table") for item in series]}


def index(labels):
    import pandas

    if type(labels) is pandas.RangeIndex:
        return {"range": [labels.start, labels.stop, labels.step], "name": form(labels.name)}
    if isinstance(labels, pandas.MultiIndex):
        names = [form(name) for name in labels.names]
        levels = [column(labels.get_level_values(i).to_series()) for i in range(labels.nlevels)]
        return {"levels": levels, "names": names}
    return {"column": column(labels.to_series()), "name": form(labels.name)}


def digest(value):
    import hashlib

    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def send(shell, name, pickled=False):
    from IPython.display import publish_display_data

    answer = {}
    if name not in shell.user_ns:
        answer["missing"] = name
    else:
        try:
            value = shell.user_ns[name]
            if pickled:
                import pickle

                value = pickle.dumps(value, protocol=4)
            answer["value"] = form(value)
            answer["sha256"] = digest(answer["value"])
        except NotPlain as exc:
            answer["refused"] = str(exc)
        except RecursionError:
            answer["refused"] = "it is nested too deeply, or in itself"
        except Exception as exc:  # what cannot be pickled says so in its own way
            if not pickled:
                raise
            answer["refused"] = "%s: %s" % (type(exc).__name__, exc)
        if len(json.dumps(answer)) > LIMIT:
            answer = {"refused": "it takes more than 256 MiB"}
    publish_display_data({MIME: answer})
