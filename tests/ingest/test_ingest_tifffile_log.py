import logging

import numpy as np
import pytest
import tifffile

from napari_marrow.ingest.tifffile_log import warnings_of_tifffile


@pytest.fixture
def cut_short(tmp_path):
    """A series whose second page lies beyond the end of the file."""
    path = tmp_path / "series.tif"
    pixels = np.random.default_rng(0).integers(0, 4000, (4, 60, 60)).astype(np.uint16)
    tifffile.imwrite(path, pixels, compression="zlib", photometric="minisblack")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize("silence", ["nothing", "level", "disabled", "everything"])
def test_a_broken_chain_is_heard_whatever_was_done_to_logging(cut_short, silence):
    logger = logging.getLogger("tifffile")
    level, disabled = logger.level, logger.disabled
    if silence == "level":
        logger.setLevel(logging.CRITICAL)
    elif silence == "disabled":
        logger.disabled = True
    elif silence == "everything":
        logging.disable(logging.CRITICAL)
    try:
        with warnings_of_tifffile() as said, tifffile.TiffFile(cut_short) as tif:
            len(tif.series[0].pages)
        assert any("invalid" in text for text in said)
        assert logger.level == (logging.CRITICAL if silence == "level" else level)
        assert logger.disabled == (silence == "disabled")
        assert logging.root.manager.disable == (logging.CRITICAL if silence == "everything" else logging.NOTSET)
    finally:
        logger.setLevel(level)
        logger.disabled = disabled
        logging.disable(logging.NOTSET)
