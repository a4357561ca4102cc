"""Tables of speed, for docs/speed.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import machine, require, table

FULL = "yunet, full detection in every frame"
LEVELS, MODES = ("basic", "extended", "all"), ("sequential", "parallel")
DEFAULTS = {"level": "all", "mode": "sequential", "arena": True, "pattern": True}
"""ONNX Runtime's own settings."""


def beside_fer(results: Path) -> str:
    """Return the rates of videos and single calls, beside `fer`."""
    videos, large = require(results, "video-epyc"), require(results, "video-1080-epyc")
    rates, ratios = videos["rates"], videos["ratio_to_fer"]
    rows = [
        [what, f"{rates[name]['median']:.0f} frames/s", between(ratios[name])]
        for what, name in (
            ("640x480 video, one face, YuNet: decode, detect, classify, track", "yunet"),
            ("the same, full detection in every frame (`--redetect-every 0`)", FULL),
            ("the same, Haar", "haar"),
            ("the same, MTCNN", "mtcnn"),
        )
    ]
    rows.append(["1920x1080 video, one face, YuNet", f"{large['rates']['yunet']['median']:.0f} frames/s", ""])
    rows.append(["the same, full detection in every frame", f"{large['rates'][FULL]['median']:.0f} frames/s", ""])
    for model, file in (("mien-s", "peers"), ("mien-xs", "peers-mien-xs")):
        times = require(results, file, model)["times"]
        one, many = (times[key]["seconds_a_face"]["mien"] for key in ("one", "many"))
        for what, shown, key in (
            ("one face, one thread", f"{1000 * one:.2f} ms", "one"),
            ("64 faces a call, two threads", f"{1 / many:,.0f} faces/s", "many"),
        ):
            low, high = times[key]["ratio_range"]
            rows.append([f"`{model}`, {what}", shown, f"{times[key]['ratio']:.2f} ({low:.2f} to {high:.2f})"])
    return table(["", "mien", "times `fer` (quartiles; range for the models)"], rows)


def between(row: dict[str, float]) -> str:
    """Return a median with its quartiles."""
    return f"{row['median']:.1f} ({row['low']:.1f} to {row['high']:.1f})"


def frame(results: Path) -> str:
    """Return the time of each step of a frame."""
    return frame_tables(require(results, "frame_profile"))


def frame_tables(values: dict[str, Any]) -> str:
    """Return the tables of benchmarks/speed/frame_profile.py."""
    share = values["full_share"]
    weights = {"detect, nearby": 1 - share, "detect, full": share}

    def total(key: str) -> float:
        return float(sum(weights.get(step, 1) * row[key] for step, row in values["steps"].items()))

    whole = total("milliseconds")
    rows = [
        [step, f"{row['milliseconds']:.2f}", f"{weights.get(step, 1) * row['milliseconds'] / whole:.0%}",
         f"{row['cpu_milliseconds']:.2f}", *floor(row)]
        for step, row in values["steps"].items()
    ]  # fmt: skip
    rows.append([f"all, with full detection in {share:.0%} of the frames", f"{whole:.2f}", "",
                 f"{total('cpu_milliseconds'):.2f}", f"{total('floor_milliseconds'):.2f}", ""])  # fmt: skip
    size = "x".join(map(str, values["size"]))
    steps = table([f"{size}, one face", "ms", "share", "CPU ms", "floor, ms", "times the floor"], rows)
    rows = [
        [row["model"], f"{row['multiply_adds'] / 1e6:.1f}", f"{row['milliseconds']:.2f}",
         f"{row['best_cpu_milliseconds']:.2f}", *floor(row)]
        for row in values["classify_one_thread"]
    ]  # fmt: skip
    head = ["one crop, one thread", "million multiply-adds", "ms", "best CPU ms", "floor, ms", "times the floor"]
    peak = values["most"]
    rates = (
        f"One thread reaches {peak['fp32_multiply_adds_a_second'] / 1e9:.0f} G multiply-adds a second in fp32, "
        f"{peak['int8_multiply_adds_a_second'] / 1e9:.0f} G in int8, and {peak['bytes_a_second'] / 1e9:.0f} GB/s."
    )
    return f"{steps}\n\n{table(head, rows)}\n\n{machine(values)} {rates}"


def floor(row: dict[str, Any]) -> list[str]:
    """Return two cells: the floor, and how many times the floor the step takes."""
    least = row["floor_milliseconds"]
    if not least:
        return ["", ""]
    times = row["milliseconds"] / least
    shown = "below: the floor is wrong" if row["below_floor"] else f"{times:,.0f}" if times >= 10 else f"{times:.1f}"
    return [f"{least:.2g}" if least < 0.01 else f"{least:.2f}", shown]


def videos(results: Path) -> str:
    """Return frames a second and what the detectors find."""
    return video_tables(require(results, "video"))


def video_tables(values: dict[str, Any]) -> str:
    """Return the tables of benchmarks/speed/video.py."""
    ratios = values.get("ratio_to_fer", {})
    rows = [[name, f"{rate['median']:.1f}", between(ratios[name]) if name in ratios else ""]
            for name, rate in values["rates"].items()]  # fmt: skip
    parts = [table([f"{'x'.join(map(str, values['size']))}, one face", "frames/s", "times fer (quartiles)"], rows)]
    rows = []
    for row in values["agreement"]:
        rest = ["", "", ""]
        if "overlap" in row:
            rest = [f"{100 * row['same_label']:.1f} %", f"{row['probability']:.3f}", f"{row['overlap']:.3f}"]
        rows.append([row["media"], str(row["frames"]), f"{100 * row['same_number']:.1f} %", *rest])
    head = ["default against full detection", "frames", "same number of faces", "same label",
            "difference of probabilities", "overlap of boxes"]  # fmt: skip
    parts.append(table(head, rows))
    rows = [
        [f"{row['media']}, {row['size'][0]}x{row['size'][1]}", row["detector"],
         f"{row['milliseconds']['median']:.1f}", "" if row["recall"] is None else f"{100 * row['recall']:.1f} %",
         f"{row['false']:.2f}"]
        for row in values["detectors"]
    ]  # fmt: skip
    parts.append(table(["media", "detector", "ms a frame", "recall", "false positives a frame"], rows))
    return "\n\n".join([*parts, machine(values)])


def images(results: Path) -> str:
    """Return images a second of `mien predict`."""
    return image_tables(require(results, "images"))


def image_tables(values: dict[str, Any]) -> str:
    """Return the tables of benchmarks/speed/images.py."""
    names = list(values["sizes"][0]["images_per_second"])
    rows = []
    for row in values["sizes"]:
        rates = row["images_per_second"]
        times, share = (
            np.median(np.divide(rates["predict"]["all"], rates[name]["all"])) for name in (names[2], names[1])
        )
        figures = (f"{rates[name]['median']:.1f}" for name in names)
        rows.append([f"{row['side']} pixels, {row['kilobytes']:.0f} kB", *figures, f"{times:.2f}", f"{share:.2f}"])
    parts = [
        table(["images/s", *names, "predict, times one by one", "predict, share of reading"], rows),
        machine(values),
    ]
    if growth := values.get("growth"):
        faces = [[f"{row['count']:,}", f"{row['per_second']:,.0f}"] for row in growth["faces"]]
        folders = [
            [f"{row['count']:,}", f"{row['per_second']:,.0f}", f"{row['memory_mb']:.0f}"] for row in growth["images"]
        ]
        parts += [table(["faces in one call", "faces/s"], faces),
                  table(["images in a folder", "images/s", "memory at the end, MB"], folders)]  # fmt: skip
    return "\n\n".join(parts)


def session_options(results: Path) -> str:
    """Return ONNX Runtime's options against its defaults."""
    return session_tables(require(results, "session_options"))


def session_tables(values: dict[str, Any]) -> str:
    """Return the table of benchmarks/speed/session_options.py."""
    columns = list(dict.fromkeys((row["threads"], row["batch"]) for row in values["rows"]))
    heads = [f"{batch} face{'s' * (batch > 1)}, {threads} thread{'s' * (threads > 1)}" for threads, batch in columns]
    cells: dict[str, list[str]] = {}
    for row in values["rows"]:
        if sum(row[key] != DEFAULTS[key] for key in DEFAULTS) <= 1:
            shown = f"{row['milliseconds_a_face']:.3f} ({row['times_default']['median']:.2f})"
            cells.setdefault(options_name(row), []).append(shown)
    rows = [[name, *each] for name, each in cells.items()]
    best = (f"{options_name(row)} ({row['times_default']['median']:.2f})" for row in values["best"])
    count = len(LEVELS) * len(MODES) * 4
    rows.append([f"clearly best of all {count} combinations", *best])
    return table([f"`{values['model']}`, ms a face (times as fast as the defaults)", *heads], rows)


def options_name(row: dict[str, Any]) -> str:
    """Return the settings that differ from the defaults."""
    names = {
        "level": f"level {row['level']}",
        "mode": f"execution {row['mode']}",
        "arena": f"arena {'on' if row['arena'] else 'off'}",
        "pattern": f"memory pattern {'on' if row['pattern'] else 'off'}",
    }
    return ", ".join(names[key] for key in DEFAULTS if row[key] != DEFAULTS[key]) or "ONNX Runtime's defaults"


def checkouts(results: Path) -> str:
    """Return `mien video` of several checkouts."""
    return checkout_table(require(results, "checkouts"))


def checkouts_save(results: Path) -> str:
    """Return `mien video --save` of several checkouts."""
    return checkout_table(require(results, "checkouts-save"))


def checkout_table(values: dict[str, Any]) -> str:
    """Return the table of benchmarks/speed/checkouts.py."""
    rows = [
        [f"{size}, {name}", *(figure for kind in ("cpu", "wall") for figure in _turns(row[kind][name]))]
        for size, row in values["sizes"].items()
        for name in row["cpu"]
    ]
    head = ["", "CPU ms a frame", "times the first (quartiles)", "ms a frame", "times the first (quartiles)"]
    return f"{table(head, rows)}\n\n{machine(values)}"


def _turns(row: dict[str, Any]) -> tuple[str, str]:
    low, median, high = (row["ratio"][key] for key in ("low", "median", "high"))
    return f"{row['median']:.2f}", f"{median:.2f} ({low:.2f} to {high:.2f})"


def machines(results: Path) -> str:
    """Return the table of `make bench` for each machine whose result is kept as machine-NAME.json."""
    return "\n\n".join(
        machine_table(require(results, path.stem))
        for path in sorted(results.glob("machine-*.json"), key=lambda path: path.stem)
    )


def machine_table(values: dict[str, Any]) -> str:
    """Return the machine and the table of benchmarks/speed/machine.py."""
    found = values["environment"]
    vnni = {True: "with VNNI", False: "without VNNI", None: "VNNI unknown"}[found["vnni"]]
    kind = {
        "amx": "with VNNI, AMX hidden",
        "avx512": "with AVX-512, VNNI and AMX hidden, as if it had AVX2 alone",
    }.get(found.get("hidden", ""), f"{vnni} and AMX" if found.get("amx") else vnni)
    lines = [f"{found['processor']}, {found['threads']} of {found['cores']} cores, {kind}."]
    if values["load_before"] > 0.5:
        lines.append(
            f"**Other programs were running** (load {values['load_before']:.1f}): quote none of these figures; the "
            "ratios are an estimate."
        )
    rows = [
        [each["what"], each["unit"], f"{each['mien']:.2f}", f"{each['others']:.2f} ({each['other']})",
         f"{each['ratio']:.2f} ({each['ratio_range'][0]:.2f} to {each['ratio_range'][1]:.2f})"]
        for each in values["rows"]
    ]  # fmt: skip
    head = ["what", "unit", "mien", "other", "times as fast (range of the turns)"]
    return "\n".join([*lines, "", table(head, rows)])


def server(results: Path) -> str:
    """Return the server beside an older one."""
    values = require(results, "server-checkouts")
    rows = []
    for row in values["requests"].values():
        before = row["before"]["images_per_second"]
        for which, about in (("now", row["about"]), ("quick", f"{row['about']}, `--quick-search`")):
            if which in row:
                now = row[which]["images_per_second"]
                refused = [f"{row[each]['statuses']['503']:,}" for each in (which, "before")]
                rows.append([about, f"{now:,.0f}", f"{before:,.0f}", f"{now / before:.2f}", *refused])
    head = [f"request, {values['connections']} connections", "images/s", "3108254", "times as fast",
            "requests refused", "3108254"]  # fmt: skip
    return f"{table(head, rows)}\n\n{machine(values)}"


def reduced_jpeg(results: Path) -> str:
    """Return large JPEG files decoded wholly and only as far as needed."""
    rows = [
        [f"{row['kind']}, {row['side']:,} pixels", f"{row['faces']:,}", f"{100 * row['found_again']:.1f} %",
         f"{100 * row['same_label']:.1f} %", f"{100 * row['accuracy']['whole']:.1f} %",
         f"{100 * row['accuracy']['reduced']:.1f} %", f"{row['ms']['whole']:.0f}", f"{row['ms']['reduced']:.0f}"]
        for row in require(results, "reduced_jpeg")["rows"]
        if row["decoded_smaller"]
    ]  # fmt: skip
    head = ["made images", "faces", "found again", "same label", "accuracy, whole file", "accuracy, part of it",
            "ms, whole file", "ms, part of it"]  # fmt: skip
    return table(head, rows)


BLOCKS = {
    "fer": beside_fer,
    "frame": frame,
    "videos": videos,
    "images": images,
    "session-options": session_options,
    "checkouts": checkouts,
    "checkouts-save": checkouts_save,
    "reduced-jpeg": reduced_jpeg,
    "server": server,
    "machines": machines,
}
