from __future__ import annotations

import pytest

from engine.hub.progress import DownloadProgress, size

GB = 10**9


def test_a_line_every_tenth() -> None:
    progress = DownloadProgress("z-image-turbo")
    lines = [progress.line(done * GB, 20 * GB, now=done / 10) for done in range(21)]
    assert [done for done, line in enumerate(lines) if line] == [0, *range(2, 21, 2)]
    assert lines[0] == "downloading z-image-turbo: 0.0 MB of 20.0 GB (0 %)"
    assert lines[8] == "downloading z-image-turbo: 8.0 GB of 20.0 GB (40 %)"  # no rate within the first second
    assert lines[12] == "downloading z-image-turbo: 12.0 GB of 20.0 GB (60 %), 10.0 GB/s, 1 s left"
    assert lines[20] == "downloading z-image-turbo: 20.0 GB of 20.0 GB (100 %)"


def test_a_line_every_fifteen_seconds() -> None:
    progress = DownloadProgress("m")
    lines = [progress.line(second * 10**6, 20 * GB, now=100.0 + second) for second in range(46)]
    assert [second for second, line in enumerate(lines) if line] == [0, 15, 30, 45]
    assert lines[15] == "downloading m: 15 MB of 20.0 GB (0 %), 1.0 MB/s, 5.6 h left"


def test_no_line_when_nothing_came() -> None:
    progress = DownloadProgress("m")
    assert progress.line(5, 10, now=0)
    assert progress.line(5, 10, now=100) is None
    assert progress.line(10, 10, now=101)
    assert progress.line(10, 10, now=200) is None


def test_what_was_here_before_is_no_speed() -> None:
    progress = DownloadProgress("m")
    progress.line(10 * GB, 20 * GB, now=0)
    line = progress.line(12 * GB, 20 * GB, now=200)
    assert line == "downloading m: 12.0 GB of 20.0 GB (60 %), 10 MB/s, 13 min left"


def test_another_download_begins_anew() -> None:
    progress = DownloadProgress("m")
    progress.line(9 * GB, 10 * GB, now=0)
    assert progress.line(0, 5 * GB, now=1) == "downloading m: 0.0 MB of 5.0 GB (0 %)"


def test_a_size_that_nobody_knows() -> None:
    progress = DownloadProgress("m")
    assert progress.line(5 * 10**6, 0, now=0) == "downloading m: 5.0 MB"
    assert progress.line(6 * 10**6, 0, now=1) is None
    assert progress.line(7 * 10**6, 0, now=15) == "downloading m: 7.0 MB"


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0.0 MB"), (123_456, "0.1 MB"), (17_300_000, "17 MB"), (20_555_000_000, "20.6 GB")]
)
def test_sizes(number: int, words: str) -> None:
    assert size(number) == words
