"""Overrides that make the literature's codecs small enough for tests."""

_NETWORKS = [
    "residual.width=12",
    "residual.latent_channels=16",
    "motion.width=12",
    "motion.latent_channels=14",
]
_INTRA = ["intra.transform.width=12", "intra.transform.latent_channels=16"]
SMALL_CODECS = {
    "ssf": ["codec=ssf", *_NETWORKS, *_INTRA],
    "dvc": ["codec=dvc", *_NETWORKS, "motion.refinement=8", "width=16"],
    "dvc with its own intra coder": [
        "codec=dvc",
        "intra=dvc",
        *_NETWORKS,
        *_INTRA,
        "motion.refinement=8",
    ],
}
