"""The tube's print: an image that wraps around the body, drawn with Pillow.

Columns run along the tube from neck to crimp. The upper half of the rows is the front, the lower half the
back, each seen with the cap on the left. Text is written upside down in that view: it reads from the crimp.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 768, 520
SIDE = HEIGHT // 2
SCALE = 2
BODY_START, BODY_END = 0.125, 1.03

Color = tuple[int, int, int]
INK: Color = (22, 22, 14)

WORDS = """
Achtung Kleber haftet sofort nicht in die Augen bringen Haut reizend Dampf vermeiden von Kindern
entfernt lagern trocken und dunkel halten Gebrauchsanweisung beachten Harz mit Ester Keep away
from heat and open flame use only outdoors wear gloves may cause drowsiness store in a cool place
shake before use net contents see base of tube colle forte tenir au frais ne pas respirer les
vapeurs rincer Tel Lot Nr 0800 123 456 www
"""


@dataclass(frozen=True)
class Style:
    """base: colour of the body. diamonds: (front, back) whether hazard diamonds stand there.

    banner: a dark block with the maker's name on the back. crimp_marks: dark marks beside the crimp.
    glare: how many burnt-out streaks of reflected light. roll: turn of the print around the axis, shares.
    """

    seed: int
    base: Color
    diamonds: tuple[bool, bool] = (True, True)
    banner: bool = False
    crimp_marks: bool = False
    glare: int = 0
    roll: float = 0.0
    ink: Color = INK


PRINTS = (
    Style(1, (240, 206, 8), glare=0, roll=0),
    Style(2, (226, 226, 10), glare=2, roll=0.02, diamonds=(True, False), banner=True),
    Style(3, (205, 224, 16), glare=1, roll=-0.05, crimp_marks=True),
    Style(4, (238, 188, 14), glare=3, roll=0.03, diamonds=(True, False), banner=True, crimp_marks=True),
    Style(5, (214, 170, 18), glare=0, roll=-0.03),
    Style(6, (222, 232, 20), glare=2, roll=0.06, diamonds=(True, False), banner=True),
    Style(7, (234, 214, 30), glare=1, roll=-0.02, ink=(48, 44, 20)),
    Style(8, (243, 196, 0), glare=2, roll=-0.06, diamonds=(True, True), crimp_marks=True),
)


def column(share: float) -> float:
    """Column at `share` of the way from head (0) to tail (1)."""
    return (share - BODY_START) / (BODY_END - BODY_START) * WIDTH


def draw_print(style: Style) -> Image.Image:
    """(HEIGHT, WIDTH) RGB."""
    rng = np.random.default_rng(style.seed)
    front = draw_side(style, style.diamonds[0], False, rng)
    back = draw_side(style, style.diamonds[1], style.banner, rng)
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    picture.paste(front, (0, 0))
    picture.paste(back, (0, SIDE))
    pixels = np.roll(np.asarray(picture, dtype=np.float64), round(style.roll * HEIGHT), axis=0)
    for _ in range(style.glare):
        pixels += (255 - pixels) * glare(rng)[:, :, None]
    return Image.fromarray(pixels.round().astype(np.uint8))


def glare(rng: np.random.Generator) -> NDArray[np.float64]:
    """(HEIGHT, WIDTH) in [0, 1]: one soft streak along the tube."""
    x, y = np.arange(WIDTH) / WIDTH, np.arange(HEIGHT)[:, None] / HEIGHT
    at_x, at_y = rng.uniform(0.1, 0.95), rng.uniform(0, 1)
    long, wide, slope = rng.uniform(0.04, 0.15), rng.uniform(0.01, 0.03), rng.uniform(-0.08, 0.08)
    across = (y - at_y - slope * (x - at_x) + 0.5) % 1 - 0.5
    return rng.uniform(0.7, 1.0) * np.exp(-(((x - at_x) / long) ** 4) - (across / wide) ** 4)


def draw_side(style: Style, diamonds: bool, banner: bool, rng: np.random.Generator) -> Image.Image:
    """One flat side, (SIDE, WIDTH), seen with the cap on the left."""
    side = Image.new("RGB", (WIDTH * SCALE, SIDE * SCALE), style.base)
    draw = ImageDraw.Draw(side)
    line = SIDE * 0.078
    text_end = column(0.965)
    text_start = column(0.585) if diamonds else column(0.2)
    shift = rng.uniform(-0.04, 0.04) * SIDE
    if diamonds:
        for y in (0.1, 0.19):
            text_line(side, (column(0.22), text_end), y * SIDE + shift, line, style.ink, rng)
    first = 0.28 if diamonds else 0.1
    for y in np.arange(first, 0.93, 0.092):
        start = text_start + rng.uniform(0.0, 0.25) * (text_end - text_start) * (rng.random() < 0.35)
        text_line(side, (start, text_end), y * SIDE + shift, line, style.ink, rng)
    if banner:
        top = 0.0 if rng.random() < 0.5 else 0.12 * SIDE
        box = [column(0.55) * SCALE, top * SCALE, column(0.985) * SCALE, 0.8 * SIDE * SCALE]
        draw.rectangle(box, fill=(24, 22, 18))
        label(side, "KLEBER", (column(0.77), 0.42 * SIDE), 0.34 * SIDE, style.base)
    if diamonds:
        radius = column(BODY_START + 0.1)
        middle = SIDE * 0.52 + shift
        for share, pictogram in ((0.3, exclamation), (0.505, flame)):
            hazard(draw, (column(share), middle), radius, pictogram)
        label(side, "6 g e", (column(0.4), middle + 0.33 * SIDE), 0.15 * SIDE, style.ink)
        ring(draw, (column(0.2), middle + 0.3 * SIDE), 0.055 * SIDE, style.ink)
    crimp(draw, style, rng)
    if style.crimp_marks:
        for y in rng.uniform(0.1, 0.85, 2):
            left = column(rng.uniform(0.955, 0.985)) * SCALE
            draw.rectangle(
                [left, y * SIDE * SCALE, left + 10 * SCALE, (y + 0.07) * SIDE * SCALE], fill=style.ink
            )
    return side.resize((WIDTH, SIDE), Image.Resampling.LANCZOS)


def crimp(draw: ImageDraw.ImageDraw, style: Style, rng: np.random.Generator) -> None:
    """The fold line across the tube, the band behind it in another shade, embossed strokes."""
    fold, end = column(1.0) * SCALE, column(BODY_END) * SCALE
    shade = rng.uniform(0.86, 1.1)
    draw.rectangle([fold, 0, end, SIDE * SCALE], fill=tinted(style.base, shade))
    draw.rectangle([fold - 3 * SCALE, 0, fold, SIDE * SCALE], fill=tinted(style.base, 0.62))
    draw.rectangle([fold + SCALE, 0, fold + 3 * SCALE, SIDE * SCALE], fill=tinted(style.base, 1.25))
    for y in np.arange(rng.uniform(0.1, 0.4), rng.uniform(0.5, 0.9), 0.045) * SIDE * SCALE:
        draw.line(
            [fold + 7 * SCALE, y, end - 5 * SCALE, y], fill=tinted(style.base, 0.75 * shade), width=2 * SCALE
        )


def tinted(color: Color, factor: float) -> Color:
    r, g, b = (min(255, round(c * factor)) for c in color)
    return r, g, b


@lru_cache(maxsize=32)
def font(px: int) -> ImageFont.FreeTypeFont:
    loaded = ImageFont.load_default(px)
    assert isinstance(loaded, ImageFont.FreeTypeFont)
    return loaded


def text_line(
    side: Image.Image,
    span: tuple[float, float],
    y: float,
    height: float,
    ink: Color,
    rng: np.random.Generator,
) -> None:
    """Words that fill the columns `span`, upside down, beginning at the right."""
    text, words = "", WORDS.split()
    letters = font(round(height * SCALE))
    bold = rng.random() < 0.25
    width = (span[1] - span[0]) * SCALE
    while letters.getlength(text) < width:
        text += words[rng.integers(len(words))] + " "
    while letters.getlength(text) > width:
        text = text[:-1]
    stamp = Image.new("L", (int(width) + 4, round(1.3 * height * SCALE)), 0)
    ImageDraw.Draw(stamp).text((0, 0), text, fill=255, font=letters, stroke_width=SCALE - 1 if bold else 0)
    stamp = stamp.rotate(180)
    side.paste(ink, (round(span[0] * SCALE), round(y * SCALE - stamp.height / 2)), stamp)


def label(side: Image.Image, text: str, centre: tuple[float, float], height: float, ink: Color) -> None:
    """One bold word, upside down."""
    letters = font(round(height * SCALE))
    left, top, right, bottom = letters.getbbox(text, stroke_width=SCALE)
    stamp = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4), 0)
    ImageDraw.Draw(stamp).text((2 - left, 2 - top), text, fill=255, font=letters, stroke_width=SCALE)
    stamp = stamp.rotate(180)
    at = round(centre[0] * SCALE - stamp.width / 2), round(centre[1] * SCALE - stamp.height / 2)
    side.paste(ink, at, stamp)


def hazard(
    draw: ImageDraw.ImageDraw,
    centre: tuple[float, float],
    radius: float,
    pictogram: list[tuple[float, float]],
) -> None:
    """A white diamond with a red edge; the pictogram's points lie in [-1, 1], drawn upside down."""
    x, y = centre[0] * SCALE, centre[1] * SCALE
    for r, color in ((radius, (206, 24, 20)), (0.84 * radius, (246, 246, 242))):
        r *= SCALE
        draw.polygon([(x - r, y), (x, y - r), (x + r, y), (x, y + r)], fill=color)
    s = 0.5 * radius * SCALE
    for shape in pictogram:
        draw.polygon([(x - s * px, y - s * py) for px, py in shape], fill=INK)


def ring(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, ink: Color) -> None:
    x, y, r = (v * SCALE for v in (*centre, radius))
    draw.arc([x - r, y - r, x + r, y + r], 30, 330, fill=ink, width=round(0.45 * r))


def circle(x: float, y: float, r: float) -> list[tuple[float, float]]:
    angles = np.linspace(0, 2 * np.pi, 16)
    return [(x + r * float(np.cos(a)), y + r * float(np.sin(a))) for a in angles]


exclamation = [[(-0.26, -0.85), (0.26, -0.85), (0.13, 0.3), (-0.13, 0.3)], circle(0.0, 0.62, 0.17)]
flame = [
    [
        (-0.45, 0.6), (-0.72, 0.15), (-0.5, 0.2), (-0.6, -0.3), (-0.3, -0.05), (-0.2, -0.75), (0.05, -0.3),
        (0.2, -0.95), (0.32, -0.2), (0.55, -0.45), (0.52, 0.1), (0.75, 0.05), (0.45, 0.6), (0.15, 0.68),
        (-0.15, 0.68),
    ],
    [(-0.6, 0.76), (0.6, 0.76), (0.6, 0.9), (-0.6, 0.9)],
]  # fmt: skip
