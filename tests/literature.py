"""Overrides that make the literature's codecs small enough for tests."""

SMALL = [
    "residual.width=12",
    "residual.latent_channels=16",
    "intra.transform.width=12",
    "intra.transform.latent_channels=16",
    "motion.width=12",
    "motion.latent_channels=14",
]
SMALL_CODECS = {"ssf": ["codec=ssf", *SMALL], "dvc": ["codec=dvc", *SMALL, "motion.refinement=8"]}
