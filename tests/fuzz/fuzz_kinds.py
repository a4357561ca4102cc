"""The kinds of input to damage: valid files made here, their mutants, and how mien reads each."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import random
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from fuzz_images import damage, mutant, seeds

ROOT = Path(__file__).parents[2]
PORTRAIT = ROOT / "src/mien/assets/portrait.jpg"
STUCK = 120.0  # seconds without an answer
FRAMES = 500  # of a video; a mutant of one with twelve rarely has more
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
TOKEN = "a-token-of-the-fuzzer"


class Kind:
    """Valid files by name, damaged at random bytes; `process` is the process whose memory is watched."""

    process: int | str = "self"
    suffixes: tuple[str, ...] = ()  # of further samples

    def __init__(self, folder: Path, samples: Path | None = None) -> None:
        self.folder = folder
        self.files = self.make()
        for path in sorted(samples.iterdir()) if samples else ():
            if path.suffix.lower() in self.suffixes and path.stat().st_size < 3_000_000:
                self.files[f"sample {path.name}"] = path.read_bytes()

    def make(self) -> dict[str, bytes]:
        raise NotImplementedError

    def mutant(self, seed: int) -> tuple[str, bytes]:
        """Return the name of a valid file, and its content with damage that follows from the seed."""
        rng = random.Random(seed)
        name = rng.choice(sorted(self.files))
        data = bytearray(self.files[name])
        damage(rng, data, self.files, rng.choice((0, 0, 200, 2000, -400)))
        return name, bytes(data)

    def attempt(self, name: str, data: bytes) -> None:
        """Read the data; a `mien.Error` refuses it."""
        raise NotImplementedError

    def close(self) -> None:
        """End what was started."""


class Images(Kind):
    suffixes = (".jpg", ".png")

    def make(self) -> dict[str, bytes]:
        return {**seeds(), "jpeg portrait": PORTRAIT.read_bytes()}

    def mutant(self, seed: int) -> tuple[str, bytes]:
        return mutant(seed, self.files)

    def attempt(self, name: str, data: bytes) -> None:
        from mien.media.image import decode
        from mien.media.image_header import read_header

        pages = read_header(data, "x").frames if "tiff" in name else 1
        for page in range(min(pages, 20)):
            decode(data, "x", page=page)


class Videos(Kind):
    suffixes = (".mp4", ".mov")

    def make(self) -> dict[str, bytes]:
        from media_files import click, natural, write_video
        from PIL import Image

        def draw(k: int) -> np.ndarray:
            return np.roll(natural(64, 48), 3 * k, axis=1)

        times = [k / 12 for k in range(12)]
        sound = ("aac", click(0.3, 1.0))
        for name, settings in {
            "h264.mp4": {"options": {"bf": "2", "g": "4"}, "sound": sound},
            "interlaced.mp4": {"options": {"flags": "+ildct+ilme", "x264opts": "tff=1"}},
            "fragments.mp4": {"container": {"movflags": "frag_keyframe+empty_moov"}},
            "mpeg4.avi": {"codec": "mpeg4", "ticks": 30},
            "vp9.webm": {"codec": "libvpx-vp9"},
            "vp8.mkv": {"codec": "libvpx", "sound": ("libopus", click(0.3, 1.0))},
            "mpeg2.ts": {"codec": "mpeg2video", "ticks": 30},
            "h264.mov": {},
            "raw.h264": {},
            "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p", "ticks": 30},
            "flv1.flv": {"codec": "flv", "ticks": 30},
        }.items():
            write_video(self.folder / name, times, **{"draw": draw, **settings})
        frames = [Image.fromarray(draw(k)[:, :, ::-1]) for k in range(4)]
        for suffix in ("gif", "png", "webp"):
            frames[0].save(self.folder / f"animated.{suffix}", save_all=True, append_images=frames[1:], duration=80)
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def attempt(self, name: str, data: bytes) -> None:
        from mien.media.video_reader import VideoReader

        path = self.folder / f"mutant{Path(name).suffix}"
        path.write_bytes(data)
        with VideoReader(path) as video:
            for frame, _ in zip(video, range(FRAMES), strict=False):
                assert frame.bgr().dtype == np.uint8


class Data(Kind):
    """FER2013 as zip and csv, votes, and its cache; some archives are built wrong rather than damaged."""

    def make(self) -> dict[str, bytes]:
        from mien.data.registry import load_any
        from mien.types import EMOTIONS7

        self.cache = self.folder / "cache"
        os.environ["MIEN_CACHE"] = str(self.cache)
        self.members: dict[str, bytes] = {}
        rows, votes = ["emotion,pixels,Usage"], ["file,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt"]
        votes[0] += ",unknown,NF"
        rng = np.random.default_rng(0)
        for number, split in enumerate(("Training", "PublicTest", "PrivateTest") * 7):
            image = rng.integers(0, 256, (48, 48), np.uint8)
            folder = "train" if split == "Training" else "test"
            name = f"{folder}/{EMOTIONS7[number // 3]}/{split}_{number}.jpg"
            self.members[name] = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 20])[1].tobytes()
            rows.append(f"{number // 3},{' '.join(map(str, image.ravel()))},{split}")
            votes.append(f"{Path(name).name},5,1,0,0,3,0,0,0,1,0")
        self.archive = pack(self.members)
        source = self.folder / "cached.zip"
        source.write_bytes(self.archive)
        self.cache.mkdir()
        load_any(source)
        self.cached = next(self.cache.iterdir())
        return {
            "fer.zip": self.archive, "built.zip": self.archive, "fer.csv": "\n".join(rows).encode(),
            "votes.csv": "\n".join(votes).encode(), "cache.npz": self.cached.read_bytes(),
        }  # fmt: skip

    def mutant(self, seed: int) -> tuple[str, bytes]:
        name, data = super().mutant(seed)
        return (name, self.build(random.Random(seed))) if name == "built.zip" else (name, data)

    def build(self, rng: random.Random) -> bytes:
        """Return a well-formed archive with a member or two that mien does not expect."""
        members = dict(self.members)
        for _ in range(rng.choice((1, 2))):
            old = rng.choice(sorted(members))
            new = rng.choice((
                "../../" + old, "/" + old, old.replace("/", "\\"), old.replace("/", "//"), "train/x/y/z.jpg", old,
                "a" * 60_000, old.replace(".jpg", ".png"), old.replace("_", ""), "train/happy/Training_\udcff.jpg",
                "\0.jpg", "train/happy/Training_²\n\x1b[31m.jpg", "__MACOSX/" + old, "test/neutral/.jpg", old.upper(),
                "",
            ))  # fmt: skip
            content = members.pop(old)
            content = rng.choice(
                (content, b"", b"x", bytes(30_000_000), PORTRAIT.read_bytes(), self.archive, content[:90])
            )
            members[new] = content
        return pack(members, rng)

    def attempt(self, name: str, data: bytes) -> None:
        from mien.data.audit import audit_source
        from mien.data.registry import load_any

        for path in self.cache.iterdir():
            path.unlink()
        if name == "cache.npz":
            self.cached.write_bytes(data)
            faces = load_any(self.folder / "cached.zip")
            assert len(faces.images) == 21 and len(faces.labels) == 7
            return
        path = self.folder / f"mutant{Path(name).suffix}"
        path.write_bytes(data)
        if name == "votes.csv":
            load_any(self.folder / "cached.zip", kind="ferplus", votes=path)
        elif len(data) % 3:
            load_any(path, 5, unusable={} if len(data) % 3 == 1 else None)
        else:
            audit_source(path, None)


def pack(members: dict[str, bytes], rng: random.Random | None = None) -> bytes:
    """Return a zip of the members, compressed by a method of chance if there is one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            method = (
                rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
                if rng
                else 0
            )
            with suppress(UnicodeEncodeError):
                info = zipfile.ZipInfo(name or "x.jpg")
                archive.writestr(info, content, method, 1)
    return buffer.getvalue()


class Recipes(Kind):
    """The recipes of the shipped models, with bytes or values replaced."""

    words = (
        ".inf", "-.inf", ".nan", "1e999", "-1000", "0", "9" * 5000, "0x10", "1_0", "2024-01-01", "2024-13-99", "a b",
        "12:30:45", "~", "null", "yes", "[]", "{}", "''", "[[[[1]]]]", "[" * 500, "[" * 20_000, "{a: " * 3000,
        "&a [*a]", "*b", "&a 1", "!!python/object:os.system x", "!!binary aGk=", "!!set {a, b}", "!!omap [a: 1]",
        "!!int x", "!!timestamp x", "!!float x", "{1: 2}", "{? [1] : 2}", "../../../x", "'\\ud800'", '"\\ud800"',
        '"\\0"', "| \n  text", "---", "...", "%YAML 9.9", "<<: 1", "\ufeff", "\u2028", "1" + "0" * 400,
        "{sad: 1" + "0" * 400 + "}", "1" + ":1" * 400, "1:1.5", "[" + "{}," * 3000 + "]", "1," * 3000,
    )  # fmt: skip
    fields = ("name", "classes", "seed", "lr", "batch", "sets", "variants", "class_bias", "folds", "stages", "1")

    def make(self) -> dict[str, bytes]:
        return {path.stem: path.read_bytes() for path in sorted(ROOT.glob("recipes/*.yaml"))}

    def mutant(self, seed: int) -> tuple[str, bytes]:
        rng = random.Random(seed)
        if rng.random() < 0.4:
            return super().mutant(seed)
        name = rng.choice(sorted(self.files))
        text = self.files[name].decode()
        for _ in range(rng.choice((1, 1, 2, 4))):
            values = list(re.finditer(r"[\w./+-]+", text))
            match rng.randrange(4):
                case 0:
                    text += f"\n{rng.choice(self.fields)}: {rng.choice(self.words)}\n"
                case 1:
                    depth = rng.choice((3, 9))
                    levels = [f"- &a{k} [{f'*a{k - 1}, ' * 9}]\n" for k in range(1, depth + 1)]
                    text += f"\nanchors:\n- &a0 [1]\n{''.join(levels)}\n{rng.choice(self.fields)}: *a{depth}\n"
                case _:
                    at = rng.choice(values)
                    text = text[: at.start()] + rng.choice(self.words) + text[at.end() :]
        return name, text.encode("utf-8", "surrogatepass")

    def attempt(self, name: str, data: bytes) -> None:
        from mien.train.config import read_recipe

        path = self.folder / "recipe.yaml"
        path.write_bytes(data)
        config = read_recipe(path)
        assert "/" not in config.name and ".." not in config.name
        json.dumps(config.to_dict(), allow_nan=False)


class Models(Kind):
    """A small ONNX model, a small checkpoint and a profile."""

    def make(self) -> dict[str, bytes]:
        import torch

        from mien.personal.prior import PriorShift
        from mien.train import checkpoint, models
        from mien.train.config import Stage, TrainConfig
        from mien.types import EMOTIONS

        torch.set_num_threads(1)
        config = TrainConfig(width=0.125, stages=(Stage(epochs=1, size=24),))
        network = models.build(config.network, len(EMOTIONS), config.width)
        PriorShift(dict.fromkeys(EMOTIONS, 0.1), "0" * 64, "mien-s", "2025-01-31", "0", 90).write(
            self.folder / "p.json"
        )
        meta = {"config": config.to_dict(), "labels": EMOTIONS, "mean": 0.5, "std": 0.25, "epoch": 1}
        checkpoint.save(self.folder / "c.safetensors", network.state_dict(), meta)
        return {
            "model.onnx": small_model(), "profile.json": (self.folder / "p.json").read_bytes(),
            "checkpoint.safetensors": (self.folder / "c.safetensors").read_bytes(),
        }  # fmt: skip

    def mutant(self, seed: int) -> tuple[str, bytes]:
        rng = random.Random(seed)
        name = rng.choice(sorted(self.files))
        data = bytearray(self.files[name])
        damage(rng, data, self.files, rng.choice((0, 300, -600)))
        return name, bytes(data)

    def attempt(self, name: str, data: bytes) -> None:
        from mien.faces.models import load_classifier
        from mien.personal.prior import read_profile
        from mien.train.torch_classifier import TorchClassifier

        path = self.folder / f"mutant{Path(name).suffix}"
        path.write_bytes(data)
        if path.suffix == ".json":
            read_profile(path)
            return
        model = TorchClassifier(path) if path.suffix == ".safetensors" else load_classifier(path, 1)
        answers = model(np.full((3, 48, 48), 90, np.uint8))
        assert answers.shape == (3, len(model.labels))


def small_model() -> bytes:
    """Return an ONNX model with the inputs, outputs and metadata of mien's."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from mien.types import EMOTIONS

    weights = np.random.default_rng(0).normal(0, 0.01, (9, 5)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["crops"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["floats", "shape"], ["images"]),
            helper.make_node("AveragePool", ["images"], ["pooled"], kernel_shape=[16, 16], strides=[16, 16]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "small",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", 48, 48])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(np.array([-1, 1, 48, 48]), "shape")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"labels": json.dumps(EMOTIONS), "name": "small", "uncertain_below": "0.5"})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


class Requests(Kind):
    """Requests to a real `mien serve`, sent as bytes; it may refuse them, but neither fail nor wait."""

    def make(self) -> dict[str, bytes]:
        from test_bad_input import BINARY, CLOSE, PING, TEXT, UPGRADE, frame

        images = {name: data for name, data in seeds().items() if len(data) < 10_000}
        head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
        self.start()
        files: dict[str, bytes] = {}
        for path in ("/health", "/ready", "/metrics", "/v1/model", "/openapi.json", "/", "/v1/nothing"):
            files[f"get {path}"] = f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()
        for name in ("jpeg", "png", "webp", "tiff None", "gif"):
            part = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n' + images[name]
            files[f"form {name}"] = self.post(head, part + b"\r\n--x--\r\n", "multipart/form-data; boundary=x")
        text = json.dumps({"images": [{"name": "a", "data": base64.b64encode(images["png"]).decode()}]}).encode()
        files["json"] = self.post(head, text, "application/json")
        files["json crops"] = self.post(head, text, "application/json", "?crops=true")
        chunks = (
            f"POST /v1/predict HTTP/1.1\r\n{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        files["chunked"] = chunks.encode() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text)
        hello = UPGRADE.replace(UPGRADE[UPGRADE.index("token=") + 6 : UPGRADE.index(" HTTP/1.1")], TOKEN) + "\r\n"
        for name, frames in {
            "stream": frame(BINARY, images["jpeg"]), "ping": frame(PING, b"x") + frame(TEXT, b"{}"),
            "parts": frame(BINARY, images["png"][:90], first=0) + frame(0, images["png"][90:]),
        }.items():  # fmt: skip
            files[f"socket {name}"] = hello.encode() + frames + frame(CLOSE, struct.pack(">H", 1000))
        return files

    def post(self, head: str, body: bytes, kind: str, query: str = "") -> bytes:
        start = f"POST /v1/predict{query} HTTP/1.1\r\n{head}Content-Type: {kind}\r\n"
        return start.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def start(self) -> None:
        self.log = self.folder / "log.txt"
        limits = ["--header-seconds", "1", "--read-seconds", "1"]
        with self.log.open("w") as errors:
            self.server = subprocess.Popen(
                [sys.executable, "-m", "mien", "serve", "--port", "0", *limits],
                stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, "MIEN_TOKEN": TOKEN},
            )  # fmt: skip
        assert self.server.stdout
        address = re.search(r"127\.0\.0\.1:(\d+)", self.server.stdout.readline())
        assert address, self.log.read_text()
        self.port = int(address[1])
        self.process = self.server.pid

    def attempt(self, name: str, data: bytes) -> None:
        from mien import Error

        status = 0
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=STUCK / 2) as line,
            suppress(ConnectionError, http.client.HTTPException),
        ):
            line.sendall(data)
            if len(data) % 16 and not select.select([line], [], [], 0.2)[0]:  # else the server's deadline has to end it
                line.shutdown(socket.SHUT_WR)
            received = http.client.HTTPResponse(line, method=data[:4].decode("latin-1").strip())
            received.begin()
            status = received.status
            if status != 101:
                received.read()
        assert self.server.poll() is None, "the server has ended"
        assert status < 500 or status in (501, 503), f"status {status}"
        said = self.log.read_text(errors="replace")
        assert "Traceback" not in said, said[-500:].replace("\n", " | ")
        if not 100 < status < 400:
            raise Error(f"status {status}")

    def close(self) -> None:
        self.server.kill()
        self.server.wait()
        if self.server.stdout:
            self.server.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Faults(Kind):
    """What the fuzzer must notice, by seed; for its tests."""

    def make(self) -> dict[str, bytes]:
        return {}

    def mutant(self, seed: int) -> tuple[str, bytes]:
        return ("fine", "exception", "text", "memory", "crash", "wait", "endless")[seed], b""

    def attempt(self, name: str, data: bytes) -> None:
        match name:
            case "exception":
                raise KeyError(name)
            case "text":
                print(name)
            case "memory":
                np.ones(130_000_000)
            case "crash":
                os._exit(3)
            case "wait":
                time.sleep(6)
            case "endless":
                while True:
                    pass


KINDS: dict[str, Callable[[Path, Path | None], Kind]] = {
    "images": Images, "videos": Videos, "data": Data, "recipes": Recipes, "models": Models, "requests": Requests,
}  # fmt: skip
