"""Time from the PNG of a page to its patches, compared with Qwen's image processor.

Both read the same file at the same size, in turn, so that other load on the machine
affects both. Compare the ratio of the medians between machines.

    OPENBLAS_NUM_THREADS=1 python -m bench.page_input

The examination of a page (blank, orientation, strips) is timed separately, in CPU time
of the process. numpy uses one thread, as in the decoders.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pypdfium2
import torch
from PIL import Image
from transformers import AutoImageProcessor

from bench.report import finish, say
from handler.engine.device.model import pixels_to_patches
from handler.preprocess import DecodeOptions, Limits, decode_page, target_size
from handler.preprocess.image.decode import DecodedImage
from handler.preprocess.page.examine import examine
from handler.preprocess.page.strips import Division
from handler.preprocess.picture import Picture, divide_picture
from handler.profiles import PROFILES
from handler.sandbox.wire import Descriptor
from handler.schema import Page
from handler.weights.source import MINI

__all__ = ["time_examination", "time_page_input"]

PAGE = Path(__file__).parent / "pages" / "tax-columns.pdf"
DPI = 192


def time_page_input(png: bytes, repetitions: int) -> dict[str, list[float]]:
    """Return the milliseconds of each step and repetition.

    The steps are `decode`, `patches`, `ours`, which is both, and `reference`.
    """
    processor = AutoImageProcessor.from_pretrained(MINI)
    sizing = PROFILES["chandra"].sizing
    times: dict[str, list[float]] = {}
    file = os.memfd_create("page")
    os.write(file, png)
    for _ in range(repetitions):
        started = time.perf_counter()
        page = decode_page(Descriptor(file), "image/png", 1, sizing, Limits())
        decoded = time.perf_counter()
        ours = _make_patches(page)
        patched = time.perf_counter()
        reference = _make_reference_patches(processor, png, page)
        ended = time.perf_counter()
        assert ours.shape == reference.shape
        for name, seconds in (
            ("decode", decoded - started),
            ("patches", patched - decoded),
            ("ours", patched - started),
            ("reference", ended - patched),
        ):
            times.setdefault(name, []).append(1000 * seconds)
    os.close(file)
    return times


def time_examination(png: bytes, repetitions: int) -> list[float]:
    """Return the milliseconds of CPU time to examine a page, once per repetition.

    The page must be upright and clean.
    """
    sizing = PROFILES["chandra"].sizing
    image = Image.open(io.BytesIO(png)).convert("RGB")
    decoded = DecodedImage(image, image.width, image.height)
    picture = Picture(decoded, target_size(image.width, image.height, sizing))
    times = []
    for _ in range(repetitions):
        started = time.process_time()
        examined = examine(image, DecodeOptions())
        division = divide_picture(picture, examined.view, examined.rotation, sizing)
        times.append(1000 * (time.process_time() - started))
        assert examined.image is image, "the page is neither upright nor clean"
        assert division == Division()
    return times


def _make_patches(page: Page) -> torch.Tensor:
    host = torch.frombuffer(bytearray(page.pixels), dtype=torch.uint8)
    pixels = host.view(page.pixel_height, page.pixel_width, 3)
    return pixels_to_patches(pixels, 16, 2, 2, torch.bfloat16)


def _make_reference_patches(
    processor: Callable[..., dict[str, torch.Tensor]], png: bytes, page: Page
) -> torch.Tensor:
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image = image.resize((page.pixel_width, page.pixel_height))
    size = {"shortest_edge": 1, "longest_edge": 100_000_000}
    outputs = processor(images=[image], return_tensors="pt", size=size)
    return outputs["pixel_values"].to(torch.bfloat16)


def main() -> None:
    """Measure and print all times and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--repetitions",
        type=int,
        default=15,
        help="number of repetitions (default 15)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=torch.get_num_threads(),
        help="number of torch threads",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with pypdfium2.PdfDocument(PAGE) as document:
        drawn = document[0].render(scale=DPI / 72).to_pil()
    stream = io.BytesIO()
    drawn.convert("RGB").save(stream, "PNG")
    times = time_page_input(stream.getvalue(), arguments.repetitions)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        say(f"{name}: {median:.1f} ms (best {min(times[name]):.1f})")
    examination = min(time_examination(stream.getvalue(), 2 * arguments.repetitions))
    say(f"examination: {examination:.1f} ms of CPU time (best)")
    ratio = medians["ours"] / medians["reference"]
    say(f"ratio to Qwen's processor: {ratio:.2f}")
    milliseconds = {**medians, "examination_cpu": examination}
    finish("page_input", {"to_reference": ratio}, milliseconds=milliseconds)


if __name__ == "__main__":
    main()
