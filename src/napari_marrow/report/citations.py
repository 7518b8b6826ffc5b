"""Works that the methods text cites, for the reference list and a BibTeX file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """A cited paper."""

    key: str
    authors: str
    year: int
    title: str
    journal: str
    where: str
    doi: str = ""

    @property
    def short(self) -> str:
        """Author and year, as in running text."""
        first = self.authors.split(" and ")
        names = [a.split(",")[0] for a in first]
        who = names[0] if len(names) == 1 else f"{names[0]} & {names[1]}" if len(names) == 2 else f"{names[0]} et al."
        return f"{who} {self.year}"

    @property
    def line(self) -> str:
        """Entry of the reference list."""
        names = [a.replace(",", "") for a in self.authors.split(" and ")]
        return f"{', '.join(names)} ({self.year}) {self.title}. {self.journal} {self.where.replace('--', '–')}."

    @property
    def bibtex(self) -> str:
        """BibTeX entry."""
        volume, _, pages = self.where.rpartition(":")
        numbered = f"  volume = {{{volume}}},\n" if volume else ""
        doi = f",\n  doi = {{{self.doi}}}" if self.doi else ""
        return (
            f"@article{{{self.key},\n  author = {{{self.authors}}},\n  title = {{{{{self.title}}}}},\n"
            f"  journal = {{{self.journal}}},\n  year = {{{self.year}}},\n"
            f"{numbered}  pages = {{{pages}}}{doi}\n}}\n"
        )


WORKS = {
    w.key: w
    for w in (
        Work(
            "cellpose", "Stringer, C and Wang, T and Michaelos, M and Pachitariu, M", 2021,
            "Cellpose: a generalist algorithm for cellular segmentation", "Nature Methods", "18:100--106",
            "10.1038/s41592-020-01018-x",
        ),
        Work(
            "padfield", "Padfield, D", 2012, "Masked object registration in the Fourier domain",
            "IEEE Transactions on Image Processing", "21:2706--2718", "10.1109/TIP.2011.2181402",
        ),
        Work(
            "guizar", "Guizar-Sicairos, M and Thurman, ST and Fienup, JR", 2008,
            "Efficient subpixel image registration algorithms", "Optics Letters", "33:156--158", "10.1364/OL.33.000156",
        ),
        Work(
            "baker", "Baker, S and Matthews, I", 2004, "Lucas-Kanade 20 years on: a unifying framework",
            "International Journal of Computer Vision", "56:221--255", "10.1023/B:VISI.0000011205.11775.fd",
        ),
        Work(
            "jaqaman",
            "Jaqaman, K and Loerke, D and Mettlen, M and Kuwata, H and Grinstein, S and Schmid, SL and Danuser, G",
            2008, "Robust single-particle tracking in live-cell time-lapse sequences", "Nature Methods",
            "5:695--702",
            "10.1038/nmeth.1237",
        ),
        Work(
            "baddeley", "Baddeley, A and Gill, RD", 1997,
            "Kaplan-Meier estimators of distance distributions for spatial point processes", "The Annals of Statistics",
            "25:263--292", "10.1214/aos/1034276629",
        ),
        Work(
            "ripley", "Ripley, BD", 1977, "Modelling spatial patterns",
            "Journal of the Royal Statistical Society B", "39:172--212",
        ),
        Work(
            "myllymaki", "Myllymäki, M and Mrkvička, T and Grabarnik, P and Seijo, H and Hahn, U", 2017,
            "Global envelope tests for spatial processes", "Journal of the Royal Statistical Society B", "79:381--404",
            "10.1111/rssb.12172",
        ),
        Work(
            "malandain", "Malandain, G and Bertrand, G", 1992, "Fast characterization of 3D simple points",
            "11th IAPR International Conference on Pattern Recognition", "232--235",
        ),
        Work(
            "aalen", "Aalen, OO and Johansen, S", 1978,
            "An empirical transition matrix for non-homogeneous Markov chains based on censored observations",
            "Scandinavian Journal of Statistics", "5:141--150",
        ),
        Work(
            "turnbull", "Turnbull, BW", 1976,
            "The empirical distribution function with arbitrarily grouped, censored and truncated data",
            "Journal of the Royal Statistical Society B", "38:290--295",
        ),
        Work(
            "hesterberg", "Hesterberg, TC", 2015,
            "What teachers should know about the bootstrap: resampling in the undergraduate statistics curriculum",
            "The American Statistician", "69:371--386", "10.1080/00031305.2015.1089789",
        ),
        Work(
            "phipson", "Phipson, B and Smyth, GK", 2010,
            "Permutation P-values should never be zero: calculating exact P-values when permutations are randomly "
            "drawn",
            "Statistical Applications in Genetics and Molecular Biology", "9:39", "10.2202/1544-6115.1585",
        ),
        Work(
            "benjamini", "Benjamini, Y and Hochberg, Y", 1995,
            "Controlling the false discovery rate: a practical and powerful approach to multiple testing",
            "Journal of the Royal Statistical Society B", "57:289--300", "10.1111/j.2517-6161.1995.tb02031.x",
        ),
    )
}  # fmt: skip


def bibtex(keys: Iterable[str]) -> str:
    """Return the BibTeX file of the cited works."""
    return "\n".join(WORKS[k].bibtex for k in keys)
