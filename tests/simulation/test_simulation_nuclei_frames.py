"""Frames of nuclei to train and to score on."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from napari_marrow.simulation.nuclei_frames import nuclei_frames


def test_same_seed_same_pixels_and_other_seeds_other_conditions():
    first, again, other = nuclei_frames(3, side=96), nuclei_frames(3, side=96), nuclei_frames(4, side=96)
    assert len(first) == len(again)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.labels, b.labels)
    assert first[0].spacing != other[0].spacing
    assert first[0].electrons != other[0].electrons


def test_labels_are_the_bright_nuclei_numbered_without_gaps():
    frames = nuclei_frames(7, electrons=400.0, side=160)
    assert frames
    for frame in frames:
        present = np.unique(frame.labels)
        np.testing.assert_array_equal(present, np.arange(present.size))
        ring = ndimage.binary_dilation(frame.labels > 0, iterations=6) & ~ndimage.binary_dilation(
            frame.labels > 0, iterations=3
        )
        assert np.median(frame.image[frame.labels > 0]) > 1.5 * np.median(frame.image[ring])


def test_light_sets_the_signal_to_noise_ratio():
    def contrast(electrons: float) -> float:
        frames = nuclei_frames(7, electrons=electrons, side=160)
        inside = np.concatenate([f.image[f.labels > 0] for f in frames]).astype(float)
        outside = np.concatenate([f.image[f.labels == 0] for f in frames]).astype(float)
        return float((np.median(inside) - np.median(outside)) / outside.std())

    assert contrast(400.0) > 2 * contrast(15.0)


def test_the_culture_gets_more_crowded():
    counts = [int(frame.labels.max()) for frame in nuclei_frames(1, times_h=(40.0, 160.0))]
    assert counts[1] > 1.5 * counts[0]
