"""The simulated experiment: lives computed once per organoid, frames rendered one by one when asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from napari_marrow.errors import SettingsError
from napari_marrow.progress import CancelToken, Progress, no_progress
from napari_marrow.simulation.design import OrganoidPlan, effect_table, layout_table, plan_organoids, seed_for
from napari_marrow.simulation.faults import Acquisition, plan_acquisition
from napari_marrow.simulation.organoid import OrganoidHistory, live
from napari_marrow.simulation.rendering import Renderer
from napari_marrow.simulation.scenario import Scenario
from napari_marrow.simulation.truth import TruthTables


@dataclass(frozen=True)
class SimulatedSession:
    """One mounting of one field; frames are rendered on demand and never kept.

    Attributes
    ----------
    position : str
        Field that the file says.
    session : int
        Number, from 1.
    kind : str
        ``"dense"`` or ``"sparse"``.
    channels : tuple of str
        Channel names in order.
    spacing : tuple of float
        Voxel size z, y, x in µm.
    time_s : (T,) float64
        Recorded clock, s since the session's first frame.
    start_h : float
        Begin, hours since seeding (t0).
    shape : tuple of int
        T, C, Z, Y, X.
    acquisition : Acquisition
        True times, transforms and faults.
    source_position : str
        Field whose organoid is really seen; another one where wells were swapped.
    """

    position: str
    session: int
    kind: str
    channels: tuple[str, ...]
    spacing: tuple[float, float, float]
    time_s: npt.NDArray[np.float64]
    start_h: float
    shape: tuple[int, int, int, int, int]
    acquisition: Acquisition
    source_position: str
    _renderer: Renderer

    @property
    def true_h(self) -> npt.NDArray[np.float64]:
        """When the recorded pixels were exposed, hours since seeding (T,)."""
        return self.acquisition.true_h

    def frame(self, t: int) -> npt.NDArray[np.uint16]:
        """Render frame t: counts (C, Z, Y, X).

        Raises
        ------
        SettingsError
            If there is no frame t.
        """
        self._check(t)
        return self._renderer.frame(self.acquisition, t, self.channels)

    def labels(self, t: int) -> npt.NDArray[np.int32]:
        """Truth labels of nuclei at frame t, (Z, Y, X); a label is the cell's id throughout its life.

        Raises
        ------
        SettingsError
            If there is no frame t.
        """
        self._check(t)
        return self._renderer.labels(self.acquisition, t)

    def _check(self, t: int) -> None:
        if not 0 <= t < self.shape[0]:
            raise SettingsError(
                f"Session {self.session} of {self.position} has frames 0 to {self.shape[0] - 1}, not {t}."
            )


class Experiment:
    """A lazily simulated experiment.

    The life of an organoid is simulated at the first access to one of its sessions (a second or less, a few MB); images
    are rendered frame by frame.

    Attributes
    ----------
    scenario : Scenario
    layout : pandas.DataFrame
        Plate layout (schema `LAYOUT`).
    organoids : pandas.DataFrame
        True effects per organoid: condition factors and random effects.
    truth : Mapping of str to pandas.DataFrame
        Truth tables by name, computed at first access: see `truth.TruthTables`.
    """

    def __init__(
        self, scenario: Scenario, *, progress: Progress = no_progress, cancel: CancelToken | None = None
    ) -> None:
        self.scenario = scenario
        self._progress, self._cancel = progress, cancel
        self.plans: tuple[OrganoidPlan, ...] = plan_organoids(scenario)
        self.layout: pd.DataFrame = layout_table(self.plans)
        self.organoids: pd.DataFrame = effect_table(self.plans)
        self._number = {plan.position: i for i, plan in enumerate(self.plans)}
        self._histories: dict[str, OrganoidHistory] = {}
        self._renderers: dict[str, Renderer] = {}
        self.truth = TruthTables(self)

    @property
    def positions(self) -> list[str]:
        """Imaged fields in plate order."""
        return [plan.position for plan in self.plans]

    def plan(self, position: str) -> OrganoidPlan:
        """Return the organoid of a field.

        Raises
        ------
        SettingsError
            If there is no such position.
        """
        if position not in self._number:
            raise SettingsError(f"There is no position '{position}': the experiment has {', '.join(self.positions)}.")
        return self.plans[self._number[position]]

    def acquisition(self, position: str, session: int) -> Acquisition:
        """Return how a session of a field really went."""
        self.plan(position)
        rng = np.random.default_rng(seed_for(self.scenario.seed, 4, self._number[position], session))
        return plan_acquisition(self.scenario, position, session, rng)

    def history(self, position: str) -> OrganoidHistory:
        """Return the life of a field's organoid, simulating it at the first call.

        Raises
        ------
        Cancelled
            When the token given to `simulate` asks for it.
        """
        plan = self.plan(position)
        if position not in self._histories:
            self._progress(len(self._histories), len(self.plans), f"growing {plan.organoid}")
            times = [self.acquisition(position, s + 1).true_h for s in range(len(self.scenario.sessions))]
            self._histories[position] = live(
                self.scenario, plan.effect, np.concatenate(times), seed=plan.seed, cancel=self._cancel,
                commitment_factor=plan.commitment_factor, founder_factor=plan.founder_factor,
            )  # fmt: skip
            self._progress(len(self._histories), len(self.plans), f"grew {plan.organoid}")
        return self._histories[position]

    def renderer(self, position: str) -> Renderer:
        """Return the renderer of a field's organoid."""
        if position not in self._renderers:
            seed = seed_for(self.scenario.seed, 5, self._number[position]) % 2**32
            self._renderers[position] = Renderer(self.scenario, self.history(position), seed)
        return self._renderers[position]

    def sessions(self, position: str) -> list[SimulatedSession]:
        """Return the sessions of a field in order of time."""
        return [self.session(position, s + 1) for s in range(len(self.scenario.sessions))]

    def session(self, position: str, session: int) -> SimulatedSession:
        """Return one session of a field.

        Raises
        ------
        SettingsError
            If there is no such position or session.
        """
        self.plan(position)
        if not 1 <= session <= len(self.scenario.sessions):
            raise SettingsError(f"There is no session {session}: the scenario has 1 to {len(self.scenario.sessions)}.")
        source = self._source(position, session)
        planned = self.scenario.sessions[session - 1]
        acquisition = self.acquisition(source, session)
        return SimulatedSession(
            position=position,
            session=session,
            kind=planned.kind,
            channels=planned.channels,
            spacing=self.scenario.imaging.spacing_um,
            time_s=acquisition.time_s - acquisition.time_s[0],
            start_h=float(acquisition.true_h[0]),
            shape=(len(acquisition.true_h), len(planned.channels), *self.scenario.imaging.shape),
            acquisition=acquisition,
            source_position=source,
            _renderer=self.renderer(source),
        )

    def _source(self, position: str, session: int) -> str:
        for number, a, b in self.scenario.faults.swapped:
            if number == session and position in (a, b):
                return b if position == a else a
        return position


@dataclass(frozen=True)
class RenderedFrame:
    """One image with its truth.

    Attributes
    ----------
    position : str
    session, t : int
    image : (C, Z, Y, X) uint16
    labels : (Z, Y, X) int32
    channels : tuple of str
    spacing : tuple of float
        z, y, x in µm.
    """

    position: str
    session: int
    t: int
    image: npt.NDArray[np.uint16]
    labels: npt.NDArray[np.int32]
    channels: tuple[str, ...]
    spacing: tuple[float, float, float]


def simulate(scenario: Scenario, *, progress: Progress = no_progress, cancel: CancelToken | None = None) -> Experiment:
    """Simulate an experiment lazily.

    Parameters
    ----------
    scenario : Scenario
        From `preset` or made by hand.
    progress : callable, optional
        Called as organoids are grown.
    cancel : CancelToken, optional
        Asked between time steps.

    Returns
    -------
    Experiment
        Its sessions render frames on demand; memory does not grow with the number of frames rendered.
    """
    return Experiment(scenario, progress=progress, cancel=cancel)


def render_frames(experiment: Experiment, *, every: int = 1) -> Iterator[RenderedFrame]:
    """Yield rendered frames with truth labels, every `every`-th of each session, one in memory at a time.

    Parameters
    ----------
    experiment : Experiment
    every : int
        Step over frames.

    Yields
    ------
    RenderedFrame
    """
    if every < 1:
        raise SettingsError(f"every is {every}: give 1 or more.")
    for position in experiment.positions:
        for session in experiment.sessions(position):
            for t in range(0, session.shape[0], every):
                yield RenderedFrame(
                    position, session.session, t, session.frame(t), session.labels(t), session.channels, session.spacing
                )
