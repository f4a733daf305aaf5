"""Sizes of images, recordings, films and files in request bodies, from the bytes themselves."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from routoo.routing.media import MediaAmounts

if TYPE_CHECKING:
    from routoo.config.sections.processor import MediaRates

# Above the 85 tokens of OpenAI for an image of low detail, and the 258 of Gemini for a small one.
_LOW_DETAIL: Final = 300
# Enough of an image for the header that has its size, in base64.
_HEAD: Final = 64 * 1024
_DATA_URL: Final = re.compile(r"data:[^,]{0,200}?;base64,", re.ASCII)
# The segments of a JPEG that have its size: those with the SOF markers.
_SOF: Final = rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]"
_JPEG_SIZE: Final = re.compile(_SOF + rb"..\x08(..)(..)", re.DOTALL)
# Bytes in a second of a recording and of a film whose header does not tell: speech at 32 kbit/s,
# and a small film at 500 kbit/s. Denser ones are shorter than is counted.
_AUDIO_BYTES_PER_S: Final = 4_000
_VIDEO_BYTES_PER_S: Final = 62_500
_WAV_RATE_AT: Final = 28


@dataclass(slots=True)
class Media:
    """The parts of a request that are no text.

    Attributes:
        image_tokens: tokens of images whose size or detail is known.
        images: images of which neither is known.
        pieces: all images.
        recordings: recordings whose length is not known.
        audio_s: seconds of the others.
        films: films whose length is not known.
        video_s: seconds of the others.
        files: files of which only an id or an address is known.
        file_bytes: size of the others.
    """

    image_tokens: int = 0
    images: int = 0
    pieces: int = 0
    recordings: int = 0
    audio_s: float = 0.0
    films: int = 0
    video_s: float = 0.0
    files: int = 0
    file_bytes: int = 0

    def add_image(self, data: str | None, *, low_detail: bool = False) -> None:
        """Adds an image; ``data``: base64 or a data URL, None: it is elsewhere."""
        self.pieces += 1
        size = None if data is None else _image_size(data)
        if low_detail:
            self.image_tokens += _LOW_DETAIL
        elif size is None:
            self.images += 1
        else:
            self.image_tokens += _image_tokens(*size)

    @property
    def is_empty(self) -> bool:
        """Whether there is none."""
        return self == Media()

    def add_audio(self, data: str | None) -> None:
        """Adds a recording; ``data``: base64 or a data URL, None: it is elsewhere."""
        if data is None:
            self.recordings += 1
            return
        head = _bytes_of(data, 64)
        rate = _AUDIO_BYTES_PER_S
        if head[:4] == b"RIFF":
            told = int.from_bytes(head[_WAV_RATE_AT : _WAV_RATE_AT + 4], "little")
            rate = min(max(told, _AUDIO_BYTES_PER_S), 1_000_000)
        self.audio_s += size_of(data) / rate

    def add_video(self, data: str | None) -> None:
        """Adds a film; ``data``: base64 or a data URL, None: it is elsewhere."""
        if data is None:
            self.films += 1
        else:
            self.video_s += size_of(data) / _VIDEO_BYTES_PER_S

    def add_file(self, data: str | None) -> None:
        """Adds a file; ``data``: base64 or a data URL, None: it is elsewhere."""
        if data is None:
            self.files += 1
        else:
            self.file_bytes += size_of(data)

    def amounts(self, rates: MediaRates, tokens_per_image: int) -> MediaAmounts:
        """Returns images, recordings and films, with their tokens by rates."""
        audio_s = self.audio_s + self.recordings * rates.unknown_s
        video_s = self.video_s + self.films * rates.unknown_s
        return MediaAmounts(
            images=self.pieces,
            image_tokens=self.image_tokens + self.images * tokens_per_image,
            audio_s=audio_s,
            audio_tokens=audio_s * rates.tokens_per_audio_s,
            video_s=video_s,
            video_tokens=video_s * rates.tokens_per_video_s,
        )

    def tokens(self, rates: MediaRates, tokens_per_image: int) -> int:
        """Returns the number of tokens, files among them, by rates."""
        found = self.amounts(rates, tokens_per_image)
        return round(
            found.image_tokens
            + found.audio_tokens
            + found.video_tokens
            + self.files * rates.tokens_per_file
            + self.file_bytes / rates.bytes_per_file_token
        )


def data_of(url: object) -> str | None:
    """Returns a value, if it is a data URL in base64; None: it is an address, or nothing."""
    return url if isinstance(url, str) and _DATA_URL.match(url) else None


def size_of(data: str) -> int:
    """Returns the number of bytes that base64, or a data URL, has."""
    return (len(data) - _begin(data)) * 3 // 4


def _begin(data: str) -> int:
    found = _DATA_URL.match(data)
    return 0 if found is None else found.end()


def _bytes_of(data: str, most: int) -> bytes:
    """Returns the first bytes, ``most`` or fewer; none, where it is no base64."""
    begin = _begin(data)
    text = data[begin : begin + most * 4 // 3 // 4 * 4]
    try:
        return b64decode(text + "=" * (-len(text) % 4))
    except (Error, ValueError):
        return b""


def _image_size(data: str) -> tuple[int, int] | None:
    """Returns width and height of a PNG, GIF, WebP (VP8X) or JPEG; None: they are not found."""
    head = _bytes_of(data, _HEAD)
    if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) >= 24:
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if head[:4] == b"GIF8" and len(head) >= 10:
        return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    if head[:4] == b"RIFF" and head[12:16] == b"VP8X" and len(head) >= 30:
        return (
            int.from_bytes(head[24:27], "little") + 1,
            int.from_bytes(head[27:30], "little") + 1,
        )
    if head[:2] == b"\xff\xd8" and (found := _JPEG_SIZE.search(head)) is not None:
        return int.from_bytes(found[2], "big"), int.from_bytes(found[1], "big")
    return None


def _image_tokens(width: int, height: int) -> int:
    """Returns the larger of what two providers count for an image of a size.

    OpenAI: the image is made to fit 2048 x 2048, then its shorter side 768; 85 tokens, and 170 for
    each square of 512. Anthropic: width times height over 750, at most 1,600.
    """
    width, height = max(1, width), max(1, height)
    scale = min(1.0, 2048 / max(width, height))
    scale = min(scale, 768 / min(width, height))
    across, down = -(-width * scale // 512), -(-height * scale // 512)
    return max(round(85 + 170 * across * down), min(1600, -(-width * height // 750)))
