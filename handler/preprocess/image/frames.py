"""Count the pictures of a file that are not read: further frames of an animation."""

from __future__ import annotations

from PIL import Image

from handler.schema import PageWarning

__all__ = ["frames_warning"]


def frames_warning(image: Image.Image) -> tuple[PageWarning, ...]:
    """Return the warning that only the first of several pictures is read, if so."""
    num_ignored = _count(image) - 1
    if num_ignored < 1:
        return ()
    detail = (
        f"the file has {num_ignored + 1} pictures, of which the first is read; send "
        "pages as TIFF or PDF, or one by one"
    )
    return (PageWarning("frames_ignored", detail),)


def _count(image: Image.Image) -> int:
    """Count the pictures; those of a camera's JPEG only if they are as large."""
    try:
        num_frames = int(getattr(image, "n_frames", 1))
        if image.format != "MPO":
            return num_frames
        # Phones append a smaller gain map, depth map or preview.
        size, count = image.size, 1
        for number in range(1, num_frames):
            image.seek(number)
            count += image.size == size
        return count
    # Any exception: a damaged end of the file does not concern the first picture.
    except Exception:
        return 1
