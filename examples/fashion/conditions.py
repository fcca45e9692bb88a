"""Conditions derived from Fashion-MNIST images, and how well an image follows them.  Needs numpy only.

Images, masks and maps are batches (N, 28, 28).  Images are uint8, 0 = the black background.
"""
import functools

import numpy as np

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")

FOREGROUND = 24       # grey value from which a pixel belongs to the garment
SMALLEST = 10         # foreground specks and holes with fewer pixels are dropped
INNER_STRONG = 34     # grey values per pixel: an inner line needs one pixel as steep as this ...
INNER_WEAK = 22       # ... and goes on while it is as steep as this
INNER_LENGTH = 4      # shorter inner lines are dropped


def shifted(a, dy, dx):
    """b[n, y, x] = a[n, y + dy, x + dx]; zero (False) outside.  |dy|, |dx| <= 1."""
    h, w = a.shape[1:]
    return np.pad(a, ((0, 0), (1, 1), (1, 1)))[:, 1 + dy:1 + dy + h, 1 + dx:1 + dx + w]


FOUR = ((-1, 0), (1, 0), (0, -1), (0, 1))
EIGHT = FOUR + ((-1, -1), (-1, 1), (1, -1), (1, 1))


def dilated(a, neighbours=EIGHT):
    """a bool (N, H, W), grown by one pixel."""
    return np.logical_or.reduce([a] + [shifted(a, *d) for d in neighbours])


def smoothed(images):
    """3x3 binomial filter; float32 (N, H, W), edges repeated."""
    a = np.pad(images.astype(np.float32), ((0, 0), (1, 1), (1, 1)), mode="edge")
    a = (a[:, :-2] + 2 * a[:, 1:-1] + a[:, 2:]) / 4
    return (a[:, :, :-2] + 2 * a[:, :, 1:-1] + a[:, :, 2:]) / 4


def grown(seed, allowed):
    """The pixels of `allowed` that 8-connect to `seed` within it; bool (N, H, W) each."""
    found = seed & allowed
    while True:
        more = dilated(found) & allowed
        if (more == found).all():
            return found
        found = more


def without_small(a, smallest, neighbours):
    """a bool (N, H, W) less its connected parts of fewer than `smallest` pixels."""
    labels = np.where(a, np.arange(1, a.size + 1, dtype=np.int32).reshape(a.shape), 0)
    while True:                                     # every part takes its largest label
        best = np.maximum.reduce([labels] + [shifted(labels, *d) for d in neighbours]) * a
        if (best == labels).all():
            break
        labels = np.where(a, best.ravel()[best - 1], 0)         # and, to be quick, its label's label
    return a & (np.bincount(labels.ravel(), minlength=a.size + 1) >= smallest)[labels]


def in_chunks(function, size=500):
    """`function` of a batch, run on at most `size` images at a time (its loops end sooner, in cache)."""
    @functools.wraps(function)
    def run(images):
        return np.concatenate([function(images[i:i + size]) for i in range(0, len(images), size)])
    return run


@in_chunks
def mask(images):
    """Garment foreground; images uint8 (N, 28, 28) -> bool (N, 28, 28).  Specks and pinholes are cleared."""
    a = without_small(images >= FOREGROUND, SMALLEST, EIGHT)
    return ~without_small(~a, SMALLEST, FOUR)


@in_chunks
def sketch(images):
    """Line drawing; images uint8 (N, 28, 28) -> uint8 (N, 28, 28), 0 or 255.

    The outline is the mask's own outermost ring.  Inner lines are Canny edges (Sobel of the smoothed
    image, non-maximum suppression, hysteresis) that keep a pixel's distance from the outline."""
    garment = mask(images)
    outline = garment & dilated(~np.pad(garment, ((0, 0), (1, 1), (1, 1))), FOUR)[:, 1:-1, 1:-1]
    s = smoothed(images)
    sy, sx = (s + (shifted(s, 0, -1) + shifted(s, 0, 1)) / 2) / 2, (s + (shifted(s, -1, 0) + shifted(s, 1, 0)) / 2) / 2
    gy = (shifted(sy, 1, 0) - shifted(sy, -1, 0)) / 2          # grey values per pixel
    gx = (shifted(sx, 0, 1) - shifted(sx, 0, -1)) / 2
    steep = np.hypot(gx, gy)
    # The two neighbours across the edge, by the gradient's direction in steps of 45 degrees.
    direction = np.round(np.arctan2(gy, gx) / (np.pi / 4)).astype(int) % 4
    ridge = np.zeros_like(garment)
    for k, (dy, dx) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ridge |= (direction == k) & (steep > shifted(steep, dy, dx)) & (steep >= shifted(steep, -dy, -dx))
    ridge &= garment & ~dilated(outline)
    inner = grown(ridge & (steep >= INNER_STRONG), ridge & (steep >= INNER_WEAK))
    inner = without_small(inner, INNER_LENGTH, EIGHT)
    return np.where(outline | inner, np.uint8(255), np.uint8(0))


def segmentation(images, labels):
    """Class index map; images uint8 (N, 28, 28), labels (N,) 0..9 -> uint8 (N, 28, 28):
    0 = background, label + 1 on the garment's mask."""
    return mask(images) * (np.asarray(labels)[:, None, None] + 1).astype(np.uint8)


def edge_f1(sketch_map, images, tolerance=1):
    """F1 of the lines of `images` against `sketch_map` (nonzero = line), (N,).

    A line pixel is right if the other drawing has one at most `tolerance` pixels away (in x and y)."""
    wanted, drawn = np.asarray(sketch_map) > 0, sketch(images) > 0
    near_wanted, near_drawn = wanted, drawn
    for _ in range(tolerance):
        near_wanted, near_drawn = dilated(near_wanted), dilated(near_drawn)
    total = lambda a: a.sum((1, 2)).astype(np.float64)
    precision = total(drawn & near_wanted) / np.maximum(total(drawn), 1)
    recall = total(wanted & near_drawn) / np.maximum(total(wanted), 1)
    return 2 * precision * recall / np.maximum(precision + recall, 1e-12)


def mask_iou(wanted, images):
    """Intersection over union of the masks of `images` with `wanted` (nonzero = garment), (N,)."""
    wanted, found = np.asarray(wanted) > 0, mask(images)
    return (wanted & found).sum((1, 2)) / np.maximum((wanted | found).sum((1, 2)), 1)
