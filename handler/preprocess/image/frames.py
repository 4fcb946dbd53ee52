"""Warning about images of a file that are not read, such as frames of an animation."""

from __future__ import annotations

from PIL import Image

from handler.schema import PageWarning

__all__ = ["frames_warning"]


def frames_warning(image: Image.Image) -> tuple[PageWarning, ...]:
    """Return a `frames_ignored` warning if the file has more than one image, else ().

    Of a camera's JPEG, `image` may then show another frame than the first.
    """
    num_ignored = _count_images(image) - 1
    if num_ignored < 1:
        return ()
    detail = (
        f"the file has {num_ignored + 1} images, and only the first is read; send "
        "several pages as TIFF or PDF, or one by one"
    )
    return (PageWarning("frames_ignored", detail),)


def _count_images(image: Image.Image) -> int:
    """Return the number of images in the file.

    Further images in a camera's JPEG count only if they have the size of the first; to
    compare them, this function seeks in `image`. Returns 1 if the end of the file is
    damaged.
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
