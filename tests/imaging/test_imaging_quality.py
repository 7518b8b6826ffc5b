import numpy as np
import pytest
from scipy import ndimage

from napari_marrow.errors import SettingsError, TableError
from napari_marrow.imaging import FLAGS, QualitySettings, frame_statistics, quality_flags, statistics_table
from napari_marrow.imaging.frame_statistics import sharpness

CHANNELS = ("nuclei", "CD31")


def clean_session(frames=14, seed=0, interval_s=1800.0):
    """Nuclei that move a little between noisy frames that bleach by 1 % each."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(8, 152, (60, 2))
    stacks = []
    for t in range(frames):
        places = places + rng.normal(0, 0.7, places.shape)
        image = np.zeros((2, 1, 160, 160))
        index = np.clip(places.round().astype(int), 0, 159)
        np.add.at(image[0, 0], (index[:, 0], index[:, 1]), 9000.0)
        np.add.at(image[1, 0], (index[:25, 0], index[:25, 1]), 6000.0)
        image[:, 0] = [ndimage.gaussian_filter(channel, 3.0) for channel in image[:, 0]]
        stacks.append(rng.poisson(image * 0.99**t + 100).astype(np.uint16))
    return stacks, np.arange(frames) * interval_s


def flags_of(stacks, time_s, **options):
    rows = []
    for t, (stack, seconds) in enumerate(zip(stacks, time_s, strict=True)):
        rows += frame_statistics(stack, t=t, time_s=float(seconds), channels=CHANNELS)
    table = quality_flags(statistics_table(rows), **options)
    return table["flags"].tolist()


def test_a_clean_session_has_no_flags():
    for seed in range(5):
        stacks, time_s = clean_session(seed=seed)
        still = np.random.default_rng(seed).normal(0, 0.1, (14, 2))
        assert flags_of(stacks, time_s, shifts=still) == [""] * 14


def expected(*hits, frames=14):
    result = [""] * frames
    for t, flag in hits:
        result[t] = flag
    return result


def test_a_blank_frame_is_blank_and_nothing_else():
    stacks, time_s = clean_session()
    stacks[5] = np.full_like(stacks[5], 100)
    assert flags_of(stacks, time_s) == expected((5, "blank"))


@pytest.mark.parametrize("side", [32, 160, 700])
def test_noise_alone_is_blank_and_a_single_faint_cell_is_not(side):
    rng = np.random.default_rng(side)
    dark = np.full((2, 1, side, side), 100.0)
    assert flags_of([rng.poisson(dark).astype(np.uint16)], [0.0]) == ["blank"]
    y, x = np.mgrid[:side, :side]
    dark[1, 0] += 60.0 * np.exp(-((y - side / 2) ** 2 + (x - side / 3) ** 2) / 18.0)
    assert flags_of([rng.poisson(dark).astype(np.uint16)], [0.0]) == [""]


def test_a_closed_shutter_is_blank_in_spite_of_hot_pixels():
    stacks, time_s = clean_session()
    noise = np.random.default_rng(1).poisson(100, stacks[5].shape).astype(np.uint16)
    noise[:, :, 40, 50] = 4000
    stacks[5] = noise
    assert flags_of(stacks, time_s) == expected((5, "blank"))


def test_a_repeated_frame_is_a_duplicate():
    stacks, time_s = clean_session()
    stacks[8] = stacks[7].copy()
    assert flags_of(stacks, time_s) == expected((8, "duplicate"))


def test_a_frame_out_of_focus_is_found():
    stacks, time_s = clean_session()
    rng = np.random.default_rng(9)
    blurred = ndimage.gaussian_filter(stacks[4].astype(float) - 100, (0, 0, 4, 4)) + 100
    stacks[4] = rng.poisson(blurred).astype(np.uint16)
    assert flags_of(stacks, time_s) == expected((4, "defocus"))


def test_saturation_is_read_from_the_dtype_and_from_a_twelve_bit_camera():
    stacks, time_s = clean_session()
    bright = stacks[3].copy()
    bright[0, 0, :20, :20] = 65535
    stacks[3] = bright
    twelve = np.minimum(stacks[6].astype(int) * 40, 4095).astype(np.uint16)
    stacks[6] = twelve
    flags = flags_of(stacks, time_s)
    assert "saturation" in flags[3]
    assert "saturation" in flags[6]
    assert not any("saturation" in f for i, f in enumerate(flags) if i not in (3, 6))


def test_dropped_frames_and_a_clock_that_restarts_are_gaps():
    stacks, time_s = clean_session()
    late = time_s.copy()
    late[6:] += 2 * 1800
    assert flags_of(stacks, late) == expected((6, "gap"))
    back = time_s.copy()
    back[9:] -= back[9]
    assert flags_of(stacks, back) == expected((9, "gap"))


def test_uneven_but_usual_intervals_are_no_gaps():
    stacks, time_s = clean_session()
    jitter = time_s + np.random.default_rng(2).uniform(-200, 200, len(time_s))
    assert flags_of(stacks, np.sort(jitter)) == [""] * 14


def test_a_background_that_jumps_and_stays_is_a_change_of_medium():
    stacks, time_s = clean_session()
    stacks = [s if t < 7 else (s + 40).astype(np.uint16) for t, s in enumerate(stacks)]
    assert flags_of(stacks, time_s) == expected((7, "media_change"))


def test_a_flash_that_passes_is_none():
    stacks, time_s = clean_session()
    stacks[7] = (stacks[7] + 40).astype(np.uint16)
    assert flags_of(stacks, time_s) == [""] * 14


def test_drift_is_flagged_once_far_enough_and_a_jump_where_it_happens():
    stacks, time_s = clean_session()
    shifts = np.zeros((14, 2))
    shifts[:, 0] = np.arange(14) * 0.3
    assert flags_of(stacks, time_s, shifts=shifts) == [""] * 14
    assert flags_of(stacks, time_s, shifts=shifts * 2) == [""] * 9 + ["drift"] * 5
    shifts[6:, 1] = 30.0
    assert flags_of(stacks, time_s, shifts=shifts) == [""] * 6 + ["drift,media_change"] + ["drift"] * 7


def test_one_frame_and_all_nan_are_judged_without_complaint():
    frame = np.full((2, 1, 32, 32), np.nan, dtype=np.float32)
    assert flags_of([frame], [0.0]) == ["blank"]
    assert flags_of(clean_session(frames=1)[0], [0.0]) == [""]


def test_no_frames_give_an_empty_table():
    table = quality_flags(statistics_table([]))
    assert table.empty
    assert list(table.columns) == ["t", "flags", *FLAGS]


def test_sharpness_falls_with_blur_and_not_with_brightness_or_noise():
    rng = np.random.default_rng(3)
    spots = np.zeros((256, 256))
    spots[tuple(rng.integers(0, 256, (2, 200)))] = 4000.0
    values = [sharpness(ndimage.gaussian_filter(spots, s).astype(np.float32)) for s in (1.5, 2.0, 3.0, 4.0)]
    assert values == sorted(values, reverse=True)
    sharp = ndimage.gaussian_filter(spots, 2.0)
    clean = sharpness(sharp.astype(np.float32))
    assert sharpness((5 * sharp + 300).astype(np.float32)) == pytest.approx(clean, rel=1e-3)
    noisy = (sharp + rng.normal(0, 30, sharp.shape)).astype(np.float32)
    assert sharpness(noisy) == pytest.approx(clean, rel=0.15)


def test_noise_alone_has_no_sharpness():
    noise = np.random.default_rng(4).normal(100, 10, (256, 256)).astype(np.float32)
    structured = ndimage.gaussian_filter(np.random.default_rng(5).normal(0, 300, (256, 256)), 2).astype(np.float32)
    assert sharpness(noise) < 0.2 * sharpness(structured) or sharpness(noise) < 0.3


def test_wrong_input_is_named():
    with pytest.raises(SettingsError, match="C, Z, Y, X"):
        frame_statistics(np.zeros((4, 4)), t=0, time_s=0.0, channels=CHANNELS)
    with pytest.raises(TableError, match="digest"):
        quality_flags(statistics_table([]).drop(columns="digest"))
    with pytest.raises(SettingsError, match="saturation"):
        QualitySettings(saturation=0.0)
    stacks, time_s = clean_session(frames=3)
    with pytest.raises(SettingsError, match="3 frames and 2 shifts"):
        flags_of(stacks, time_s, shifts=np.zeros((2, 2)))
