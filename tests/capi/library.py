"""librecurlm by ctypes: each function raises ``Failure`` with the status and the message of what failed."""

import ctypes
import os
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PATH = os.environ.get("RECURLM_LIBRARY_PATH", "")
if not Path(PATH).is_file():
    pytest.skip("RECURLM_LIBRARY_PATH does not name librecurlm: make native PRESET=release", allow_module_level=True)

INVALID_ARGUMENT, IO_ERROR, DAMAGED_FILE, UNKNOWN_TEXT, NOT_FINITE = range(1, 6)


class Options(ctypes.Structure):
    _fields_ = (
        ("size", c_size_t),
        ("max_tokens", c_int64),
        ("seed", c_uint64),
        ("temperature", c_double),
        ("top_k", c_int64),
        ("top_p", c_double),
        ("min_p", c_double),
        ("repetition_penalty", c_double),
        ("presence_penalty", c_double),
        ("frequency_penalty", c_double),
    )


class BeamOptions(ctypes.Structure):
    _fields_ = (
        ("size", c_size_t),
        ("max_tokens", c_int64),
        ("width", c_int64),
        ("best", c_int64),
        ("length_penalty", c_double),
    )


class Beam(ctypes.Structure):
    _fields_ = (
        ("text", c_void_p),
        ("length", c_size_t),
        ("score", c_double),
        ("log_probs", POINTER(c_float)),
        ("tokens", c_size_t),
        ("ended", c_int32),
    )


class Failure(Exception):
    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


LIBRARY = ctypes.CDLL(PATH)
_SIGNATURES: dict[str, list[Any]] = {
    "model_open": [c_char_p, POINTER(c_void_p)],
    "set_threads": [c_int32],
    "encode": [c_void_p, c_char_p, c_size_t, POINTER(c_int32), c_size_t, POINTER(c_size_t)],
    "decode": [c_void_p, POINTER(c_int32), c_size_t, c_char_p, c_size_t, POINTER(c_size_t)],
    "score": [c_void_p, POINTER(c_char_p), POINTER(c_size_t), c_size_t, c_int32, POINTER(c_double)],
    "generation_begin": [c_void_p, c_char_p, c_size_t, POINTER(Options), POINTER(c_void_p)],
    "generation_next": [c_void_p, POINTER(c_void_p), POINTER(c_size_t)],
    "cache_make": [c_void_p, c_size_t, POINTER(c_void_p)],
    "state_begin": [c_void_p, c_void_p, POINTER(c_int32), POINTER(c_size_t), c_size_t, c_uint64, POINTER(c_void_p)],
    "state_copy": [c_void_p, POINTER(c_void_p)],
    "state_select": [c_void_p, POINTER(c_size_t), c_size_t, POINTER(c_void_p)],
    "state_join": [POINTER(c_void_p), c_size_t, POINTER(c_void_p)],
    "state_reset": [c_void_p, c_size_t, POINTER(c_int32), c_size_t, c_uint64],
    "beams_search": [c_void_p, c_char_p, c_size_t, POINTER(BeamOptions), POINTER(c_void_p)],
    "beams_get": [c_void_p, c_size_t, POINTER(Beam)],
    "classifier_open": [c_char_p, POINTER(c_void_p)],
    "class_label": [c_void_p, c_size_t, POINTER(c_void_p), POINTER(c_size_t)],
    "classify": [c_void_p, POINTER(c_char_p), POINTER(c_size_t), c_size_t, POINTER(c_float)],
    "classify_ids": [c_void_p, POINTER(c_int32), POINTER(c_size_t), c_size_t, POINTER(c_float)],
    "state_draw": [c_void_p, c_size_t, POINTER(Options), POINTER(c_int32), POINTER(c_float)],
    "state_read": [c_void_p, POINTER(c_int32), c_size_t, POINTER(c_float), POINTER(c_int32)],
}
for name, arguments in _SIGNATURES.items():
    getattr(LIBRARY, f"recurlm_{name}").argtypes = arguments
for name in ("model_close", "generation_end", "state_free", "beams_free", "cache_free", "classifier_close"):
    getattr(LIBRARY, f"recurlm_{name}").argtypes = [c_void_p]
    getattr(LIBRARY, f"recurlm_{name}").restype = None
for name in ("message", "version"):
    getattr(LIBRARY, f"recurlm_{name}").restype = c_char_p
LIBRARY.recurlm_vocabulary_size.restype = c_int64
LIBRARY.recurlm_beams_count.restype = c_size_t
LIBRARY.recurlm_beams_count.argtypes = [c_void_p]
LIBRARY.recurlm_classes.restype = c_size_t
LIBRARY.recurlm_classes.argtypes = [c_void_p]
LIBRARY.recurlm_classifies_texts.argtypes = LIBRARY.recurlm_classifies_steps.argtypes = [c_void_p]
for name in ("vocabulary_size", "bos_id", "end_id"):
    getattr(LIBRARY, f"recurlm_{name}").argtypes = [c_void_p]


def call(name: str, *arguments: Any) -> None:
    status = getattr(LIBRARY, f"recurlm_{name}")(*arguments)
    if status:
        raise Failure(status, LIBRARY.recurlm_message().decode())


def options(**values: Any) -> Options:
    made = Options()
    LIBRARY.recurlm_options_init(byref(made))
    for name, value in values.items():
        setattr(made, name, value)
    return made


class State:
    def __init__(self, model: "Model", handle: c_void_p, streams: int):
        self._model, self._handle, self._streams = model, handle, streams

    def __del__(self) -> None:
        LIBRARY.recurlm_state_free(self._handle)

    def copy(self) -> "State":
        handle = c_void_p()
        call("state_copy", self._handle, byref(handle))
        return State(self._model, handle, self._streams)

    def select(self, streams: list[int]) -> "State":
        handle = c_void_p()
        call("state_select", self._handle, (c_size_t * len(streams))(*streams), len(streams), byref(handle))
        return State(self._model, handle, len(streams))

    def join(self, *others: "State") -> "State":
        handle, states = c_void_p(), (self, *others)
        handles = (c_void_p * len(states))(*(state._handle.value for state in states))
        call("state_join", handles, len(states), byref(handle))
        return State(self._model, handle, sum(state._streams for state in states))

    def reset(self, stream: int, ids: list[int], seed: int = 0) -> None:
        call("state_reset", self._handle, stream, (c_int32 * len(ids))(*ids), len(ids), seed)

    def draw(self, count: int, **values: Any) -> tuple[Any, Any]:
        ids, log_probs = np.zeros((self._streams, count), np.int32), np.zeros((self._streams, count), np.float32)
        chosen = options(**values)
        call("state_draw", self._handle, count, byref(chosen), _pointer(ids, c_int32), _pointer(log_probs, c_float))
        return ids, log_probs

    def read(self, ids: Any) -> tuple[Any, Any]:
        ids = np.ascontiguousarray(ids, np.int32)
        log_probs, predictions = np.zeros(ids.shape, np.float32), np.zeros(ids.shape, np.int32)
        pointers = _pointer(log_probs, c_float), _pointer(predictions, c_int32)
        call("state_read", self._handle, _pointer(ids, c_int32), ids.shape[1], *pointers)
        return log_probs, predictions


class Model:
    def __init__(self, folder: Path):
        self._handle = c_void_p()
        call("model_open", str(folder).encode(), byref(self._handle))

    def __del__(self) -> None:
        if self._handle:
            LIBRARY.recurlm_model_close(self._handle)

    @property
    def size(self) -> int:
        return int(LIBRARY.recurlm_vocabulary_size(self._handle))

    @property
    def bos_id(self) -> int:
        return int(LIBRARY.recurlm_bos_id(self._handle))

    def encode(self, text: bytes, capacity: int | None = None) -> list[int]:
        count = c_size_t()
        call("encode", self._handle, text, len(text), None, 0, byref(count))
        ids = (c_int32 * count.value)()
        call("encode", self._handle, text, len(text), ids, count.value if capacity is None else capacity, byref(count))
        return list(ids)

    def decode(self, ids: list[int]) -> str:
        given, length = (c_int32 * len(ids))(*ids), c_size_t()
        call("decode", self._handle, given, len(ids), None, 0, byref(length))
        text = ctypes.create_string_buffer(length.value + 1)
        call("decode", self._handle, given, len(ids), text, length.value, byref(length))
        return text.raw[: length.value].decode()

    def score(self, texts: list[str], end: bool = False) -> list[float]:
        encoded = [text.encode() for text in texts]
        count = len(texts)
        log_probs = (c_double * count)()
        lengths = (c_size_t * count)(*map(len, encoded))
        call("score", self._handle, (c_char_p * count)(*encoded), lengths, count, int(end), log_probs)
        return list(log_probs)

    def generate(self, prompt: str, **values: Any) -> str:
        handle, chosen, encoded = c_void_p(), options(**values), prompt.encode()
        call("generation_begin", self._handle, encoded, len(encoded), byref(chosen), byref(handle))
        piece, length, text = c_void_p(), c_size_t(), b""
        try:
            while True:
                call("generation_next", handle, byref(piece), byref(length))
                if piece.value is None:
                    return text.decode()
                assert length.value > 0
                text += _text_at(piece.value, length.value)
        finally:
            LIBRARY.recurlm_generation_end(handle)

    def beam_search(self, prompt: str, **values: Any) -> list[tuple[str, float, list[float], bool]]:
        handle, chosen, encoded = c_void_p(), BeamOptions(), prompt.encode()
        LIBRARY.recurlm_beam_options_init(byref(chosen))
        for name, value in values.items():
            setattr(chosen, name, value)
        call("beams_search", self._handle, encoded, len(encoded), byref(chosen), byref(handle))
        found, beam = [], Beam()
        try:
            for place in range(LIBRARY.recurlm_beams_count(handle)):
                call("beams_get", handle, place, byref(beam))
                text = _text_at(beam.text, beam.length).decode()
                found.append((text, beam.score, beam.log_probs[: beam.tokens], bool(beam.ended)))
            return found
        finally:
            LIBRARY.recurlm_beams_free(handle)

    def begin(self, prompts: list[list[int]], seed: int = 0, cache: "Cache | None" = None) -> State:
        flat = [token for prompt in prompts for token in prompt]
        offsets = np.cumsum([0, *map(len, prompts)]).tolist()
        handle = c_void_p()
        ids, bounds = (c_int32 * len(flat))(*flat), (c_size_t * len(offsets))(*offsets)
        kept = cache.handle if cache else None
        call("state_begin", self._handle, kept, ids, bounds, len(prompts), seed, byref(handle))
        return State(self, handle, len(prompts))


class Cache:
    def __init__(self, model: Model, size: int):
        self.handle = c_void_p()
        call("cache_make", model._handle, size, byref(self.handle))

    def __del__(self) -> None:
        LIBRARY.recurlm_cache_free(self.handle)


class Classifier:
    def __init__(self, folder: Path):
        self._handle = c_void_p()
        call("classifier_open", str(folder).encode(), byref(self._handle))

    def __del__(self) -> None:
        if self._handle:
            LIBRARY.recurlm_classifier_close(self._handle)

    @property
    def labels(self) -> list[str]:
        return [self.label(place) for place in range(LIBRARY.recurlm_classes(self._handle))]

    @property
    def reads_texts(self) -> bool:
        return bool(LIBRARY.recurlm_classifies_texts(self._handle))

    @property
    def classifies_steps(self) -> bool:
        return bool(LIBRARY.recurlm_classifies_steps(self._handle))

    def label(self, place: int) -> str:
        text, length = c_void_p(), c_size_t()
        call("class_label", self._handle, place, byref(text), byref(length))
        return _text_at(text.value or 0, length.value).decode()

    def classify(self, texts: list[str]) -> Any:
        encoded = [text.encode() for text in texts]
        count, log_probs = len(texts), np.zeros((len(texts), len(self.labels)), np.float32)
        lengths = (c_size_t * count)(*map(len, encoded))
        call("classify", self._handle, (c_char_p * count)(*encoded), lengths, count, _pointer(log_probs, c_float))
        return log_probs

    def classify_ids(self, rows: list[list[int]]) -> Any:
        flat = [token for row in rows for token in row]
        offsets = np.cumsum([0, *map(len, rows)]).tolist()
        results = len(flat) if self.classifies_steps else len(rows)
        log_probs = np.zeros((results, len(self.labels)), np.float32)
        given, bounds = (c_int32 * len(flat))(*flat), (c_size_t * len(offsets))(*offsets)
        call("classify_ids", self._handle, given, bounds, len(rows), _pointer(log_probs, c_float))
        return log_probs


def _text_at(address: int, length: int) -> bytes:
    text = ctypes.string_at(address, length + 1)
    assert text[-1] == 0
    return text[:-1]


def _pointer(array: Any, kind: Any) -> Any:
    return array.ctypes.data_as(POINTER(kind))
