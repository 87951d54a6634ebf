"""`ClipDataModule` where configs of earlier runs name it; new code takes
`data.loading.datamodule`.
"""

from data.loading.datamodule import ClipDataModule

__all__ = ["ClipDataModule"]
