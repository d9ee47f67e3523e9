"""The digital chest phantom: one seeded 3-D body, its CT slices and its chest films.

Everything is made from one seed: anatomy, collapsed lungs, film conditions, distractors. Films and
CT volumes come with exact masks, need no patient data, and are free to share.
"""

from pneumoseg.phantom.anatomy import Posture
from pneumoseg.phantom.body import Body, CoronalMaps, make_body
from pneumoseg.phantom.collapse import Collapse
from pneumoseg.phantom.distractors import DistractorOdds
from pneumoseg.phantom.film import FilmTruth, PhantomFilm, make_film
from pneumoseg.phantom.projection import Exposure, draw_exposure, project, transmit
from pneumoseg.phantom.siim_layout import PhantomRun, PhantomSettings, run_phantom
from pneumoseg.phantom.volume import CtVolume, make_ct

__all__ = [
    "Body",
    "Collapse",
    "CoronalMaps",
    "CtVolume",
    "DistractorOdds",
    "Exposure",
    "FilmTruth",
    "PhantomFilm",
    "PhantomRun",
    "PhantomSettings",
    "Posture",
    "draw_exposure",
    "make_body",
    "make_ct",
    "make_film",
    "project",
    "run_phantom",
    "transmit",
]
