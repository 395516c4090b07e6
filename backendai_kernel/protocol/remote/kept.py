import collections
import json
import threading

AGAIN = "\x1b]bai-again;"  # begins the answer to a question when an answer of the server was lost
KEPT = 32 * 1024 * 1024  # characters of output that are kept for those who ask for them again
CELLS = 3  # cells whose output is kept; of calls, the last one


class Record:
    """What one request has sent, in order, and where in it which piece stands.

    Positions count characters of each stream and messages in envelopes, from the request's begin.
    """

    def __init__(self, key, is_cell):
        self.key = key
        self.is_cell = is_cell
        self.is_over = False
        self.items = collections.deque()  # (stream, text) or ("rich", texts)
        self.size = 0
        self.base = {"stdout": 0, "stderr": 0, "rich": 0}  # where the first item kept stands
        self.at = dict(self.base)  # where the next one will
        self.last = 0  # number of the last envelope

    def add(self, kind, value):
        length = len(value) if kind != "rich" else 1
        self.items.append((kind, value))
        self.at[kind] += length
        self.size += size_of(kind, value)

    def drop_first(self):
        kind, value = self.items.popleft()
        self.base[kind] += len(value) if kind != "rich" else 1
        self.size -= size_of(kind, value)

    def since(self, have):
        """Return what stands behind the positions *have*, and what of it is kept no more."""
        at, found = dict(self.base), []
        for kind, value in self.items:
            start = at[kind]
            at[kind] += len(value) if kind != "rich" else 1
            if at[kind] > have[kind]:
                rest = "".join(value) if kind == "rich" else value[max(0, have[kind] - start) :]
                found.append([kind, rest])
        missing = {kind: max(0, self.base[kind] - have[kind]) for kind in self.base}
        return {
            "is_known": True,
            "is_over": self.is_over,
            "items": found,
            "at": dict(self.at),
            "last": self.last,
            "missing": missing,
        }


def size_of(kind, value):
    return sum(map(len, value)) if kind == "rich" else len(value)


class Kept:
    """Keeps what requests have sent, because a lost answer of the server took it along.

    Each request has a key. One that comes a second time is not run again.
    """

    def __init__(self):
        # Held for moments only: the thread that sends waits for it.
        self.lock = threading.Lock()
        self.records = []
        self.current = None

    def begin(self, key, is_cell):
        """Open a record; false: this request has been here before."""
        with self.lock:
            if any(record.key == key for record in self.records):
                return False
            same = [record for record in self.records if record.is_cell == is_cell]
            for record in same[: len(same) + 1 - (CELLS if is_cell else 1)]:
                self.records.remove(record)
            self.current = Record(key, is_cell)
            self.records.append(self.current)
        return True

    def end(self):
        with self.lock:
            if self.current is not None:
                self.current.is_over = True
            self.current = None

    def add(self, kind, value, number=0):
        with self.lock:
            record = self.current
            if record is None:
                return
            record.add(kind, value)
            record.last = number or record.last
            excess = sum(each.size for each in self.records) - KEPT
            while excess > 0 and self.records[0] is not record:
                excess -= self.records.pop(0).size
            while record.size > KEPT and len(record.items) > 1:
                record.drop_first()

    def since(self, key, have):
        with self.lock:
            for record in self.records:
                if record.key == key:
                    return record.since(have)
        return {"is_known": False}

    @staticmethod
    def asked(text, nonce):
        """Return what an answer to a question asks for again; ``None``: it is another answer."""
        if not (isinstance(text, str) and text.startswith(AGAIN)):
            return None
        mark, _, rest = text[len(AGAIN) :].partition(";")
        return json.loads(rest) if mark == nonce else {}
