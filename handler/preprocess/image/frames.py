"""Warning about images of a file that are not read, such as frames of an animation."""

from __future__ import annotations

from PIL import Image

from handler.schema import PageWarning

__all__ = ["frames_warning"]


def frames_warning(image: Image.Image) -> tuple[PageWarning, ...]:
    """Return a `frames_ignored` warning if the file has more than one image."""
    num_ignored = _count_pictures(image) - 1
    if num_ignored < 1:
        return ()
    detail = (
        f"the file has {num_ignored + 1} images, and only the first is read; send "
        "several pages as TIFF or PDF, or one by one"
    )
    return (PageWarning("frames_ignored", detail),)


def _count_pictures(image: Image.Image) -> int:
    """Return the number of images in the file.

    Further images in a camera's JPEG count only if they have the size of the first.
    """
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
    # Catch every exception: a damaged end of the file does not affect the first image.
    except Exception:
        return 1
