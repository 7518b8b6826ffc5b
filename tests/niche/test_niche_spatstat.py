"""Agreement with spatstat through R, where Rscript and spatstat.explore are installed."""

import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from napari_marrow.niche import cross_k, nearest_functions, uniform_positions

SCRIPT = """
suppressMessages({library(spatstat.geom); library(spatstat.explore)})
d <- read.csv("points.csv"); m <- as.matrix(read.csv("mask.csv", header=FALSE)) > 0
w <- owin(mask=m, xrange=c(-0.5, ncol(m)-0.5), yrange=c(-0.5, nrow(m)-0.5))
p <- ppp(d$x, d$y, window=w, marks=factor(d$m), check=FALSE)
r <- seq(0, 20, by=0.25); at <- match(c(6, 10, 15, 20), r)
k <- Kcross(p, "a", "b", r=r, correction=c("translate", "border"))
g <- Gcross(p, "a", "b", r=r, correction=c("km", "rs", "han"))
write.csv(data.frame(r=r[at], translation=k$trans[at], border=k$border[at], km=g$km[at], rs=g$rs[at],
                     hanisch=g$han[at]), "found.csv", row.names=FALSE)
"""


def has_spatstat() -> bool:
    if shutil.which("Rscript") is None:
        return False
    asked = subprocess.run(["Rscript", "-e", "library(spatstat.explore)"], capture_output=True, check=False)
    return asked.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not has_spatstat(), reason="needs R with spatstat.explore (Debian: r-cran-spatstat.explore)")
def test_cross_k_and_g_equal_those_of_spatstat(tmp_path):
    yy, xx = np.mgrid[:120, :140]
    window = (np.hypot(yy - 60, xx - 70) < 55 + 8 * np.sin(3 * np.arctan2(yy - 60, xx - 70))) & (
        np.hypot(yy - 50, xx - 60) > 12
    )
    rng = np.random.default_rng(0)
    x, y = (uniform_positions(window, (1.0, 1.0), n, rng) for n in (120, 60))
    every = np.concatenate([x, y])
    pd.DataFrame({"x": every[:, 1], "y": every[:, 0], "m": ["a"] * 120 + ["b"] * 60}).to_csv(tmp_path / "points.csv")
    np.savetxt(tmp_path / "mask.csv", window.astype(int), fmt="%d", delimiter=",")
    (tmp_path / "script.R").write_text(SCRIPT, encoding="utf-8")
    subprocess.run(["Rscript", "script.R"], cwd=tmp_path, check=True, capture_output=True)
    theirs = pd.read_csv(tmp_path / "found.csv")
    for correction in ("translation", "border"):
        found = cross_k(x, y, window, (1, 1), r_max=20, n_r=80, correction=correction)
        at = np.round(theirs["r"] / 0.25).astype(int).to_numpy() - 1
        # spatstat reads the covariance of a pixel mask from an image and takes edge distances between pixel centres.
        assert found.k[at] == pytest.approx(theirs[correction].to_numpy(), rel=0.005 if correction[0] == "t" else 0.05)
    for correction in ("km", "rs", "hanisch"):
        found = nearest_functions(x, y, window, (1, 1), r=theirs["r"], correction=correction)
        assert found.g == pytest.approx(theirs[correction].to_numpy(), abs=0.03)
