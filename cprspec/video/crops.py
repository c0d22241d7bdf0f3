"""Where test crops lie: the centre, the four corners, and the same five mirrored (PROTOCOL 2.2)."""

from __future__ import annotations

from attrs import frozen


@frozen
class TestCrop:
    """A square crop: `down` and `right` are 0 at the top and left edge and 1 at the other; `mirrored` left to right."""

    __test__ = False  # not a test, whatever its name says to pytest

    down: float
    right: float
    mirrored: bool = False

    def box(self, share: float, height: int, width: int) -> tuple[int, int, int, int]:
        """Top, left, height and width in pixels, when its side is `share` of the short side."""
        side = round(share * min(height, width))
        return int(self.down * (height - side)), int(self.right * (width - side)), side, side


CENTRE = TestCrop(0.5, 0.5)
FIVE = (CENTRE, TestCrop(0, 0), TestCrop(0, 1), TestCrop(1, 0), TestCrop(1, 1))
TEN = (*FIVE, *(TestCrop(crop.down, crop.right, mirrored=True) for crop in FIVE))

CROPS = {"centre": (CENTRE,), "five": FIVE, "ten": TEN}
"""By the words of experiments; in the published order."""
