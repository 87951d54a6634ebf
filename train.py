"""Train a codec: `python train.py experiment=demo`, or any mix of the groups under conf/. The same
command continues a run.
"""

import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue

from codec.registry import use_plugins
from codec.training.shutdown import TRY_AGAIN, Stopped, stopping_early
from common.errors import CorvidError
from common.progress import prepare_output
from common.resources import prepare_threads


@hydra.main(config_path="conf", config_name="train", version_base="1.3")
def main(config: DictConfig) -> None:
    """Config -> its run folder -> training there, from the start or from where it stopped."""
    from codec.training.run import (
        run_of,
        run_to_resume,
        sweep_folder,
        train,
    )  # here, for seconds go by in which Ctrl-C may come

    try:
        use_plugins(config.plugins)
        folder, plain = run_to_resume(config) if config.resume else run_of(config)
        train(folder, plain, sweep_folder())
    except (CorvidError, MissingMandatoryValue) as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # a sweep goes on with its other jobs and ends with this error
        reason = str(error).strip()
        if isinstance(error, MissingMandatoryValue):
            reason = f"{error.full_key} has no value; give {error.full_key}=..."
        if "Traceback" in reason:  # a data worker's error comes behind its traceback
            reason = reason.splitlines()[-1]
        print(f"error: {reason}", file=sys.stderr)
        sys.exit(2)
    except Stopped:
        sys.exit(TRY_AGAIN)


if __name__ == "__main__":
    prepare_output()
    prepare_threads()
    try:
        with stopping_early():
            main()
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        sys.exit(130)
    except Stopped:
        sys.exit(TRY_AGAIN)
