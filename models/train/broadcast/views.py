"""Views of a picture: as the video path shows it, and as broadcasts disfigure it.

Every view is the full input of the network, 384 x 224, RGB, bytes. Random views
cut a piece of any aspect out of the picture and stretch it, so that neither the
picture's aspect nor its borders tell the class.
"""

import io
import math
import random

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

WIDTH, HEIGHT = 384, 224
BAR = 0.10  # share of the side that each black bar of the fixed views covers


def load(path):
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def stretch(image):
    return image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)


def barred(image, across, share=BAR, fill=(0, 0, 0)):
    """The whole picture between bars left and right (`across`) or above and below."""
    w, h = (WIDTH - 2 * round(WIDTH * share), HEIGHT) if across else (WIDTH, HEIGHT - 2 * round(HEIGHT * share))
    frame = Image.new("RGB", (WIDTH, HEIGHT), fill)
    frame.paste(image.resize((w, h), Image.Resampling.BILINEAR), ((WIDTH - w) // 2, (HEIGHT - h) // 2))
    return frame


def jpeg(image, quality, subsampling=2):
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality, subsampling=subsampling)
    return Image.open(data).convert("RGB")


def words(rng):
    letters = "abcdefghijklmnopqrstuvwxyz"
    text = " ".join("".join(rng.choices(letters, k=rng.randint(1, 9))) for _ in range(rng.randint(1, 8)))
    return rng.choice([text, text.upper(), text.title(), f"{rng.randint(0, 99)}:{rng.randint(0, 59):02}"])


def colour(rng):
    return tuple(rng.randrange(256) for _ in range(3))


def paste_logo(image, rng, place=None):
    """A channel's mark: a plate, a ring or letters, more or less transparent."""
    side = round(HEIGHT * rng.uniform(0.06, 0.16))
    size = (round(side * rng.uniform(1, 2.5)), side)
    mark = Image.new("RGBA", size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(mark)
    kind = rng.randrange(3)
    if kind == 0:
        draw.rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), side // 4, (*colour(rng), 255))
    elif kind == 1:
        draw.ellipse((0, 0, side - 1, side - 1), outline=(*colour(rng), 255), width=max(2, side // 6))
    ink = rng.choice([(255, 255, 255), (255, 255, 255), colour(rng)])
    draw.text((side // 6, side // 8), words(rng)[:4], (*ink, 255), font=ImageFont.load_default(side * 0.7))
    mark.putalpha(mark.getchannel("A").point(lambda a, o=rng.uniform(0.4, 1): round(a * o)))
    margin = rng.randint(2, 20)
    corners = [(x, y) for x in (margin, WIDTH - size[0] - margin) for y in (margin, HEIGHT - side - margin)]
    anywhere = (rng.randrange(WIDTH - size[0]), rng.randrange(HEIGHT - side))
    image.paste(mark, place or rng.choice([*corners, anywhere]), mark)


def paste_ticker(image, rng):
    """A band with text, mostly low in the picture."""
    height = round(HEIGHT * rng.uniform(0.06, 0.18))
    top = rng.choice([HEIGHT - height, HEIGHT - height - rng.randint(0, 30), rng.randrange(HEIGHT - height)])
    left = rng.choice([0, 0, rng.randrange(WIDTH // 2)])
    right = rng.choice([WIDTH, WIDTH, rng.randrange(left + WIDTH // 3, WIDTH + 1)])
    band = Image.new("RGB", (right - left, height), colour(rng))
    draw = ImageDraw.Draw(band)
    ink = (255, 255, 255) if sum(band.getpixel((0, 0))) < 380 else (0, 0, 0)
    draw.text((rng.randint(0, 20), height * 0.1), words(rng) + "  " + words(rng), ink, font=ImageFont.load_default(height * 0.65))
    under = image.crop((left, top, right, top + height))
    image.paste(Image.blend(under, band, rng.uniform(0.6, 1)), (left, top))


def paste_caption(image, rng):
    """Text without a plate: subtitles, slogans, scores."""
    size = HEIGHT * rng.uniform(0.06, 0.16)
    ink = rng.choice([(255, 255, 255), (255, 255, 255), (255, 230, 0), colour(rng)])
    at = (rng.randint(-20, WIDTH // 2), rng.choice([round(HEIGHT * 0.8), rng.randrange(HEIGHT - 20)]))
    ImageDraw.Draw(image).text(
        at, words(rng), ink, font=ImageFont.load_default(size), stroke_width=rng.randrange(2), stroke_fill=(0, 0, 0)
    )


def random_piece(image, rng):
    """A piece of any place and aspect, as large as the picture allows or smaller."""
    aspect = math.exp(rng.uniform(math.log(0.8), math.log(2.4)))
    w, h = image.size
    largest = min(w, h * aspect)
    width = largest * math.sqrt(rng.uniform(0.45, 1))
    height = width / aspect
    left, top = rng.uniform(0, w - width), rng.uniform(0, h - height)
    return image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box=(left, top, left + width, top + height))


def random_view(image, seed):
    rng = random.Random(seed)
    frame = random_piece(image, rng)
    if rng.random() < 0.5:
        frame = ImageOps.mirror(frame)
    if rng.random() < 0.35:
        small = rng.uniform(0.35, 0.9)
        how = rng.choice([Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.BOX])
        frame = frame.resize((round(WIDTH * small), round(HEIGHT * small)), how).resize((WIDTH, HEIGHT), how)
    elif rng.random() < 0.15:
        frame = frame.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.2)))
    elif rng.random() < 0.15:
        frame = frame.filter(ImageFilter.UnsharpMask(2, rng.randint(50, 150), 2))
    if rng.random() < 0.6:
        frame = ImageEnhance.Color(frame).enhance(rng.uniform(0.5, 1.5))
        frame = ImageEnhance.Brightness(frame).enhance(rng.uniform(0.75, 1.25))
        frame = ImageEnhance.Contrast(frame).enhance(rng.uniform(0.75, 1.3))
    if rng.random() < 0.2:  # studio range shown as full range, or the reverse
        pixels = np.asarray(frame, np.float32)
        pixels = pixels * (219 / 255) + 16 if rng.random() < 0.5 else (pixels - 16) * (255 / 219)
        frame = Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))
    if rng.random() < 0.3:
        paste_logo(frame, rng)
    if rng.random() < 0.2:
        paste_ticker(frame, rng)
    if rng.random() < 0.2:
        paste_caption(frame, rng)
    if rng.random() < 0.35:
        fill = (rng.randrange(20),) * 3 if rng.random() < 0.8 else colour(rng)
        frame = barred(frame, rng.random() < 0.5, rng.uniform(0.02, 0.16), fill)
        if rng.random() < 0.2:  # channel marks on the bars, too
            paste_logo(frame, rng)
    if rng.random() < 0.5:
        frame = jpeg(frame, rng.randint(20, 90), rng.choice([0, 2]))
    return frame


def square(image):
    """The middle square, stretched: hides the picture's aspect from everybody."""
    w, h = image.size
    side = min(w, h)
    box = ((w - side) / 2, (h - side) / 2, (w + side) / 2, (h + side) / 2)
    return image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box=box)


def logo_of(image, seed):
    frame = stretch(image)
    rng = random.Random(seed)
    paste_logo(frame, rng)
    paste_ticker(frame, rng)
    return frame


# Views that do not depend on chance; `check.py` compares them.
FIXED = {
    "plain": lambda image, _: stretch(image),
    "letterbox": lambda image, _: barred(image, False),
    "pillarbox": lambda image, _: barred(image, True),
    "jpeg30": lambda image, _: jpeg(stretch(image), 30),
    "logo": logo_of,
    "square": lambda image, _: square(image),
}


def view(image, name, picture):
    """The view `name` of the picture with the index `picture`: one of FIXED, or `random0`, `random1`..."""
    if name in FIXED:
        return FIXED[name](image, picture * 7919)
    return random_view(image, picture * 1009 + int(name.removeprefix("random")))


def tensor(frame):
    """What the network is fed: [3, 224, 384], (x - 127) / 128."""
    return ((np.asarray(frame, np.float32) - 127) / 128).transpose(2, 0, 1)
